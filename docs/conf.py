"""How the documentation is built: `python -m sphinx -W -b html docs docs/_build`."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "examples")]
warnings.filterwarnings("error", category=UserWarning, module="eqnets")

project = "eqnets"
author = copyright = "the eqnets contributors"
version = release = installed("eqnets")

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "benchmark_page", "front_door", "mathml", "offline", "source_links", "stored_runs",
]  # fmt: skip
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
html_math_renderer = "mathml"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "README.md", "**/GALLERY_HEADER.rst"]
# a docstring may begin with a shape, "(nx,): …", which napoleon takes for a type and looks up
suppress_warnings = ["config.cache", "ref.python"]

autodoc_typehints = "none"  # the signature shows them already
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = "eqnets"
html_static_path = ["_static"]
html_css_files = ["eqnets.css"]
html_extra_path = ["playground"]
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples/lecture",
    "gallery_dirs": "lecture",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"network\.py",
    "within_subsection_order": "FileNameSortKey",
    "matplotlib_animations": (True, "jshtml"),
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "show_memory": False,
    "capture_repr": (),
    "remove_config_comments": True,
    "show_signature": False,
    "min_reported_time": 0,
    "plot_gallery": os.environ.get("EQNETS_GALLERY", "1") == "1",
    "copyfile_regex": "",
    "download_all_examples": False,
    "write_computation_times": False,  # runs/times lists them
    "nested_sections": False,
}
