"""Renders the content of a table as Markdown and LaTeX, and its records as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from itm_jax.tables.content import Content

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$", "≈": r"$\approx$", "∞": r"$\infty$"}
_LATEX |= {
    "τ": r"$\tau$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "→": r"$\to$",
    "−": "$-$",
    "½": r"$\frac12$",
    "≥": r"$\ge$",
}
_LATEX |= {"λ": r"$\lambda$", "×": r"$\times$"}
_LATEX |= {"`": r"\textasciigrave{}"}
_LATEX |= {"<": r"$<$", ">": r"$>$"}


def markdown(blocks: Sequence[Content]) -> str:
    """Returns all blocks as Markdown tables, one below the other."""
    out = []
    for block in blocks:
        lines = [f"**{block.caption}**", "", _pipes(block.headings)]
        lines.append(_pipes([" --- ", *[" ---: "] * (len(block.headings) - 1)]))
        for r, row in enumerate(block.rows):
            if block.groups[r]:
                lines.append(_pipes([f"*{block.groups[r]}*", *[""] * (len(row) - 1)]))
            lines.append(_pipes([f"**{x}**" if (r, c) in block.bold else x for c, x in enumerate(row)]))
        out.append("\n".join([*lines, "", *(f"- {note}" for note in block.notes), ""]))
    return "\n".join(out)


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def latex(blocks: Sequence[Content]) -> str:
    """Returns all blocks as booktabs tables; they need \\usepackage{booktabs}."""
    out = ["% needs \\usepackage{booktabs}"]
    for block in blocks:
        columns = len(block.headings)
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(block.caption)}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}", r"\toprule", _tex_row(block.headings), r"\midrule"]
        for r, row in enumerate(block.rows):
            if block.groups[r]:
                lines += [r"\addlinespace"] * (r > 0)
                lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{_tex(block.groups[r])}}}}} \\")
            lines.append(_tex_row(row, {c for k, c in block.bold if k == r}))
        lines += [
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\footnotesize",
            *(_tex(note) + r" \\" for note in block.notes),
        ]
        lines += [r"\end{table}", ""]
        out.append("\n".join(lines))
    return "\n".join(out)


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def _tex_row(cells: Sequence[str], bold: set[int] | None = None) -> str:
    return " & ".join(rf"\textbf{{{_tex(x)}}}" if c in (bold or ()) else _tex(x) for c, x in enumerate(cells)) + r" \\"


def as_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns one line for each record, with a column for every field that any of them has."""
    fields = list(dict.fromkeys(name for record in records for name in record))
    file = io.StringIO()
    writer = csv.DictWriter(file, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()
