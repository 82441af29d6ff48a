"""Built pages ask no other host for a style sheet or a script, and keep everything else."""


def test_foreign_sheets_and_scripts_go_and_the_rest_stays(extension) -> None:
    clean = extension("offline").without_foreign
    own = '<link rel="stylesheet" href="_static/a.css"/><script>let x = 1;</script><a href="https://e.org">e</a>'
    sheet = '<link rel="stylesheet"\nhref="https://cdn.example.org/icons.css">'
    script = '<script language="javascript" src="https://cdn.example.org/x.js"></script>'
    assert clean(sheet + own + script) == own
