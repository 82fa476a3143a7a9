"""Turn a source model into artifacts: frontends, passes, emitters."""

if __name__ != "edgekit.converters":
    raise ImportError(
        "import it as edgekit.converters; the name 'converters' at the repository's root is a link"
    )
