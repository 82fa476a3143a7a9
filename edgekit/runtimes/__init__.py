"""Run artifacts: one Session, one file per engine."""

if __name__ != "edgekit.runtimes":
    raise ImportError("import it as edgekit.runtimes; the name 'runtimes' at the repository's root is a link")
