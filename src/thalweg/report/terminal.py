"""What the terminal shows: a live run, the leaderboard, the answers.

Text from data is always a ``Text``, never markup, so that a
class called ``[red]`` stays what it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from thalweg.evidence.answer import NOT_ENOUGH, SUPPORTED, TIE, Answer

VERDICT_STYLES = {SUPPORTED: "green", TIE: "cyan", NOT_ENOUGH: "yellow"}
VERDICT_MARKS = {SUPPORTED: "●", TIE: "=", NOT_ENOUGH: "○"}
LINE_EVERY_SECONDS = 10.0
_MAX_COLUMNS = 4


def leaderboard_table(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], n: int = 10
) -> Table:
    """The best Configs as a table, the baselines under them.

    Args:
        records: trial records.
        summary: the run's summary.
        n: Configs shown.
    """
    header, rows, baselines = leaderboard_cells(records, summary, n)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for place, name in enumerate(header):
        table.add_column(
            Text(name),
            justify="left" if place == 1 else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    for place, row in enumerate(rows):
        table.add_row(*map(Text, row), style="bold" if place == 0 else "")
    if baselines:
        table.add_section()
        for row in baselines:
            table.add_row(*map(Text, row), style="dim")
    return table


def leaderboard_lines(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], n: int = 10
) -> list[str]:
    """The leaderboard as aligned plain lines, for output that is piped."""
    header, rows, baselines = leaderboard_cells(records, summary, n)
    cells = [header, *rows, *baselines]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if place == 1 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def leaderboard_cells(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], n: int
) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """The leaderboard as text: header, Configs, baselines; arguments as of the table."""
    from thalweg.evidence.ranking import leaderboard
    from thalweg.evidence.view import View, number, plain, short

    view = View(records, summary)
    entries = leaderboard(records, view.direction, n)
    names = telling_names([entry["config"] for entry in entries])[:_MAX_COLUMNS]
    spread = any(entry["std"] is not None for entry in entries)
    header = ["#", "structure", *[plain(name) for name in names], view.metric]
    header += ["± seeds"] if spread else []
    header += ["parameters", "seconds"]
    rows = []
    for entry in entries:
        score = number(entry["score"])
        std = number(entry["std"])
        params = number(entry["num_params"])
        rows.append(
            [
                str(entry["rank"]),
                entry["structure"],
                *[config_text(entry["config"].get(name)) for name in names],
                view.say(score) if math.isfinite(score) else str(entry["status"] or "no score"),
                *([f"{view.say(std)} ({entry['seeds']})" if math.isfinite(std) else ""]
                  if spread else []),
                f"{params:,.0f}" if math.isfinite(params) else "",
                short(entry["seconds"], 3),
            ]
        )  # fmt: skip
    baselines = []
    for row in summary.get("baselines") or []:
        if isinstance(row, Mapping):
            cells = ["base", str(row.get("name")), *[""] * len(names)]
            cells.append(view.say(view.value(row, "validation")))
            cells += [""] if spread else []
            seconds = number(row.get("seconds"))
            cells += ["", short(seconds, 3) if math.isfinite(seconds) else ""]
            baselines.append(cells)
    return header, rows, baselines


def telling_names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the hyperparameters that tell Configs apart, the most asked for first."""
    first = ["optimizer", "learning_rate", "loss", "schedule", "dropout", "weight_decay", "l2"]
    inside_structure = {"model", "depth", "width", "widths", "activation", "batch_size",
                        "normalisation", "residual"}  # fmt: skip
    values: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.items():
            values.setdefault(name, set()).add(repr(value))
    varied = [
        name
        for name, seen in values.items()
        if name not in inside_structure and (len(seen) > 1 or name in first[:2])
    ]
    known = [name for name in first if name in varied]
    return known + sorted(name for name in varied if name not in first)


def config_text(value: object) -> str:
    """A value of a Config as short text."""
    from thalweg.evidence.view import short

    if value is None:
        return "–"
    return short(value, 3) if isinstance(value, float) else str(value)


def answers_panel(answers: Sequence[Answer | Mapping[str, Any]]) -> RenderableType:
    """The answers, each with its verdict, claim and advice.

    Args:
        answers: Answers or their dicts.
    """
    parts: list[RenderableType] = []
    for answer in map(as_answer, answers):
        style = VERDICT_STYLES[answer.verdict]
        title = Text()
        title.append(f"{VERDICT_MARKS[answer.verdict]} ", style=style)
        title.append(answer.question, style="bold")
        title.append(f"  {answer.verdict}", style=style)
        grid = Table.grid(padding=(0, 0, 0, 2))
        grid.add_row("", Text(answer.claim))
        if answer.advice:
            grid.add_row("", Text(f"→ {answer.advice}", style="dim"))
        parts += [title, grid]
    return Group(*parts)


def answers_lines(answers: Sequence[Answer | Mapping[str, Any]]) -> list[str]:
    """The answers as plain lines, for output that is piped."""
    return [line for answer in map(as_answer, answers) for line in str(answer).splitlines()]


def as_answer(answer: Answer | Mapping[str, Any]) -> Answer:
    """The Answer itself, or the one that a dict describes."""
    return answer if isinstance(answer, Answer) else Answer.from_dict(answer)


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """What a run found, in a few plain lines.

    Args:
        summary: the run's summary; lines whose values are missing are left out.
    """
    from thalweg.evidence.view import View, number, short

    view = View([], summary)
    lines = []
    scores = [
        f"{split} {view.say(value)}"
        for split in ("validation", "test")
        if math.isfinite(value := view.value(summary, split))
    ]
    if scores:
        lines.append(f"{view.metric}: {', '.join(scores)}")
    if summary.get("goal"):
        lines.append(_threshold_line(summary))
    config = summary.get("best_config")
    if isinstance(config, Mapping) and config:
        parts = [f"{name}={config_text(value)}" for name, value in config.items()]
        lines.append(f"best: {', '.join(parts)}")
    baselines = [
        f"{row.get('name')} {view.say(value)}"
        for row in summary.get("baselines") or []
        if isinstance(row, Mapping) and math.isfinite(value := view.value(row, "validation"))
    ]
    if baselines:
        lines.append(f"baselines (validation): {', '.join(baselines)}")
    lines += [
        f"offered: --combine {one['name']} lowers {one['loss']} by {short(one['gain'], 2)} "
        f"({short(one['interval'][0], 2)} to {short(one['interval'][1], 2)}) over {one['over']}"
        for one in summary.get("combinations") or []
        # Only what is surely better is worth a line.
        if not one["used"] and (one["interval"][0] or 0.0) > 0
    ]
    trials = summary.get("trials")
    if isinstance(trials, Mapping) and trials:
        lines.append("trials: " + ", ".join(f"{n} {status}" for status, n in trials.items()))
    seconds = summary.get("seconds")
    if isinstance(seconds, Mapping) and math.isfinite(number(seconds.get("total"))):
        parts = [
            f"{name} {short(number(value), 3)}"
            for name, value in seconds.items()
            if name != "total" and math.isfinite(number(value))
        ]
        total = short(number(seconds["total"]), 3)
        lines.append(f"seconds: {total} in all" + (f" ({', '.join(parts)})" if parts else ""))
    lines += [f"note: {notice}" for notice in summary.get("notices") or []]
    if summary.get("run"):
        lines.append(f"run: {summary['run']}")
    return lines


def _threshold_line(summary: Mapping[str, Any]) -> str:
    """Say from which probability on the second class is announced, and what that gives."""
    from thalweg.evidence.view import number, short

    split = "test" if summary.get("test") else "validation"
    scores = summary.get(split) or {}
    given = [
        f"{name.replace('_', ' ')} {short(value, 3)}"
        for name in ("recall", "precision", "f1", "average_precision")
        if math.isfinite(value := number(scores.get(name)))
    ]
    cut = short(number(summary.get("threshold")), 3)
    return f"threshold: {cut} for {summary['goal']}; on {split} rows {', '.join(given)}"


STATE = (
    "trials_done",
    "total",
    "best",
    "metric",
    "rung",
    "throughput",
    "seconds_left",
    "phase",
)
"""What ``Progress.update`` takes."""


class Progress:
    """A live display of a run on a terminal; plain lines now and then anywhere else.

    Args:
        console: where to show it.
        enabled: False shows nothing at all.
        clock: seconds from any start, rising; tests pass their own.

    Example:
        >>> import io
        >>> from rich.console import Console
        >>> out = io.StringIO()
        >>> with Progress(Console(file=out)) as progress:
        ...     progress.plan("256 trials of 3 structures")
        >>> print(out.getvalue().strip())
        256 trials of 3 structures
    """

    def __init__(
        self,
        console: Console | None = None,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._enabled = enabled
        self._clock = clock
        self._live: Any = None
        self._state: dict[str, Any] = {}
        self._started = clock()
        self._last_line = -math.inf

    def __enter__(self) -> Progress:
        self._started = self._clock()
        if self._enabled and self._console.is_terminal:
            from rich.live import Live

            # The renderable is asked for at each refresh: updates themselves cost nothing.
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=8,
                transient=True,
            )  # fmt: skip
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, started: float | None) -> None:
        """Count from another moment of the clock than the first."""
        if started is not None:
            self._started = started

    def plan(self, text: str) -> None:
        """Show what is going to be done; it stays on the screen."""
        self.message(text)

    def message(self, text: str) -> None:
        """Show a line that stays on the screen, above the live display."""
        if self._enabled:
            self._console.print(Text(text), soft_wrap=True)

    def update(
        self,
        trials_done: int | None = None,
        total: int | None = None,
        best: float | None = None,
        metric: str | None = None,
        rung: int | str | None = None,
        throughput: float | None = None,
        seconds_left: float | None = None,
        phase: str | None = None,
    ) -> None:
        """Tell how far the run is; what is left out (None) stays as it was.

        Args:
            trials_done: trials that have ended.
            total: trials planned in this phase.
            best: best score so far.
            metric: what the score is.
            rung: the rung being run, such as ``"2/3"``.
            throughput: member-steps a second.
            seconds_left: until the budget is spent.
            phase: ``"compile"``, ``"explore"``, ``"refine"``, ``"confirm"``, ``"baselines"``, …
        """
        if not self._enabled:
            return
        given = {
            "trials_done": trials_done, "total": total, "best": best, "metric": metric,
            "rung": rung, "throughput": throughput, "seconds_left": seconds_left, "phase": phase,
        }  # fmt: skip
        changed_phase = phase is not None and phase != self._state.get("phase")
        self._state |= {key: value for key, value in given.items() if value is not None}
        if self._live is not None:
            return
        now = self._clock()
        if changed_phase or now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            self._console.print(Text("  ".join(self._parts())), soft_wrap=True)

    def _parts(self) -> list[str]:
        from thalweg.evidence.view import number, short

        state = self._state
        parts = [duration(self._clock() - self._started)]
        if state.get("phase"):
            parts.append(str(state["phase"]))
        if state.get("trials_done"):
            of = f"/{state['total']}" if state.get("total") else ""
            parts.append(f"{state['trials_done']}{of} trials")
        if state.get("rung"):
            parts.append(f"rung {state['rung']}")
        if math.isfinite(number(state.get("best"))):
            parts.append(f"best {state.get('metric') or 'score'} {short(state['best'], 4)}")
        if number(state.get("throughput")) > 0:
            parts.append(f"{state['throughput']:,.0f} member-steps/s")
        if number(state.get("seconds_left")) >= 0:
            parts.append(f"{duration(state['seconds_left'])} left")
        return parts

    def _render(self) -> RenderableType:
        from rich.progress_bar import ProgressBar

        elapsed, *rest = self._parts()
        done, total = self._state.get("trials_done"), self._state.get("total")
        bar = ProgressBar(
            total=total or 1, completed=min(done or 0, total or 1), width=24, pulse=not total,
            animation_time=self._clock(),
        )  # fmt: skip
        grid = Table.grid(padding=(0, 2))
        grid.add_row(Text(elapsed, style="dim"), bar, *[Text(part) for part in rest])
        return grid


def watch(
    console: Console,
    read: Callable[[], Mapping[str, Any] | None],
    over: Callable[[], str | None],
    pause: float = 0.5,
) -> None:
    """Show the state of a run that another process carries out, until it is over.

    Args:
        console: where to show it.
        read: returns the last state that was written down, None where there is none yet.
        over: returns why there is nothing more to come, None while there is.
        pause: seconds between two looks.
    """
    shown: list[str] = []
    with Progress(console, clock=time.time) as progress:
        while True:
            ended = over()
            state = dict(read() or {})
            progress.begin(state.get("started"))
            for text in [state.get("plan"), *state.get("messages", ())]:
                if text and text not in shown:
                    shown.append(text)
                    progress.message(text)
            if state.get("phase"):
                progress.update(**{name: state.get(name) for name in STATE})
            if ended is not None:
                break
            time.sleep(pause)
    if ended:
        console.print(Text(ended), soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as a person writes them: ``42 s``, ``3:07``, ``1:02:03``."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
