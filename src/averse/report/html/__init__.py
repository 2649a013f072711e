"""One HTML file of runs and studies (`averse report`).

`runs` and `studies` read directories, `warnings` says what must be known first, `chapters` and `study_chapter` choose
what is told, `charts`, `learning`, `returns` and `interpolation` draw it, `films` plays the worst episodes again, and
`page` writes it all with the template beside it.
"""

from averse.report.html.page import Written, write_report

__all__ = ["Written", "write_report"]
