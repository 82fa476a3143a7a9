"""Reference applications on top of a Session."""

if __name__ != "edgekit.apps":
    raise ImportError(
        "import it as edgekit.apps; the name 'apps' at the repository's root is a link"
    )
