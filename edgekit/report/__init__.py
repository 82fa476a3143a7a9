"""What a bundle proves, as one page for people; and what two bundles differ in, for CI.

``page.write_report`` writes the page, ``diff.compare`` compares. To add a section to the page:
a frozen dataclass with what it shows in ``view.py`` (or a file beside it), and a block in
``page.html``. To add a chart: one file with a function that returns an ``Svg``. To add a figure
that ``edgekit diff`` can limit: a line in ``limits.FIGURES`` and a function in ``diff.py``.
"""
