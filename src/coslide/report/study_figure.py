"""The figure of a study: every score of every case, seed by seed, in the manner of Figure 11 of Yang et al. (2023)."""

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coslide.evaluation.study import NETWORK, OWN, SAMPLES, Protocol, Study
from coslide.report import images
from coslide.report.charts import chart
from coslide.report.fonts import cut

_LONGEST_LABEL = 34
_ROW_IN, _MARGIN_IN = 0.26, 0.75  # height of a case, and of title and axis, in a panel


def study_figure(found: Study, protocol: Protocol) -> Figure:
    """Draw the scores of the networks of a study: a panel for each score, a dot for each seed, a line at the mean.

    The last panel has the parameters. Cases come from above in the order of the study; the best mean of a panel is
    drawn in another colour. Scales differ from panel to panel, and begin where the values do.

    Parameters
    ----------
    found
        The study.
    protocol
        Whose scores are drawn; the paper's are averaged over the held-out samples, as it does.
    """
    how = OWN if protocol == "own" else SAMPLES
    rows = [row for row in found.rows if (row.method, row.protocol) == (NETWORK, protocol) and how in row.at]
    cases = list(dict.fromkeys(row.case for row in rows))
    scores: dict[str, list[float | None]] = {
        "OA": [row.at[how].oa for row in rows],
        "mIoU": [row.at[how].miou for row in rows],
        "kappa": [row.at[how].kappa for row in rows],
        "F1": [row.at[how].f1 for row in rows],
        "precision": [row.at[how].precision for row in rows],
        "recall": [row.at[how].recall for row in rows],
        "AP (unseen pixels)": [row.average_precision for row in rows],
    }
    height_in = 2 * (_MARGIN_IN + _ROW_IN * len(cases))
    figure, panels = chart((11, height_in), 2, 4, sharey=True)
    for (name, values), axes in zip(scores.items(), panels, strict=False):
        known = {case: [v for row, v in zip(rows, values, strict=True) if row.case == case] for case in cases}
        _dots(axes, [[v for v in known[case] if v is not None] for case in cases])
        axes.set_title(name, fontsize=10)
    parameters = {row.case: (row.parameters or 0) / 1e6 for row in rows}
    panels[-1].barh(range(len(cases)), [parameters[case] for case in cases], color=images.MODEL, height=0.55)
    panels[-1].set_title("parameters [million]", fontsize=10)
    for axes in panels:
        axes.set_ylim(len(cases) - 0.5, -0.5)
        axes.set_yticks(range(len(cases)), [cut(case, _LONGEST_LABEL) for case in cases], parse_math=False)
        axes.tick_params(labelsize=8)
    seeds = len({row.seed for row in rows})
    where = "on held-out pixels" if protocol == "own" else "by the paper's protocol, whose samples training saw in part"
    words = f"{seeds} training(s) of each, {where}; line: mean, orange: best mean"
    title = f"{cut(found.title, 80)}: {cut(found.event, 60)}"
    figure.suptitle(f"{title}\n{words}", fontsize=10, parse_math=False)
    return figure


def _dots(axes: Axes, values: Sequence[Sequence[float]]) -> None:
    """Draw the values of each case as dots on its line, and their mean."""
    means = [statistics.fmean(own) if own else None for own in values]
    best = max((mean for mean in means if mean is not None), default=None)
    for line, (own, mean) in enumerate(zip(values, means, strict=True)):
        colour = images.ORANGE if mean == best else images.MODEL
        axes.plot(own, [line] * len(own), "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
        if mean is not None:
            axes.plot([mean, mean], [line - 0.32, line + 0.32], color=colour, linewidth=2)
