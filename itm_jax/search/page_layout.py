"""The search page itself, with Gradio: a question, the grid of images that were found, and why on a click."""

import pathlib
from typing import Any

from itm_jax.search.metadata import columns_text
from itm_jax.search.page_answers import COUNTS, PageAnswers
from itm_jax.viz import page
from itm_jax.web.field import answer_area, image_field
from itm_jax.web.limits import MOST_BYTES, MOST_CHARACTERS

WAITING = 100  # questions that wait; the next one is refused
CLICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (button) trigger(button.dataset.do === "like" ? "submit" : "click", {image: button.dataset.id});
});
"""
GRID_STYLE = """
.found{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:1em}
.found figure{margin:0;overflow:hidden}.found img{width:100%;height:180px;object-fit:cover;border-radius:6px}
.found figcaption{font-size:.85em;overflow-wrap:anywhere;max-width:none}
.found button{font-size:.85em;margin:.3em .5em 0 0;padding:.15em .6em;border-radius:6px;cursor:pointer;
  border:1px solid var(--border-color-primary);background:var(--background-fill-secondary)}
"""


def make_page(answers: PageAnswers) -> Any:
    """Returns the page as Gradio's Blocks."""
    import gradio as gr

    index = answers.index
    title = f"Search in {pathlib.Path(index.place).name}"
    calls: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "index", "api_visibility": "private"}
    with gr.Blocks(title=title, analytics_enabled=False) as blocks:
        gr.HTML(f'<h1>{page.text(title)}</h1><div class="facts">{_facts(answers)}</div>', js_on_load=None)
        asked = gr.State("")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                text = gr.Textbox(label="Text", lines=1, max_lines=4)
                where = gr.Textbox(
                    label=f"Filter by {columns_text(index.record.metadata)}", visible=bool(index.record.metadata)
                )
                count = gr.Radio(list(COUNTS), value=COUNTS[0], label="Images")
                button = gr.Button("Search", variant="primary")
            with gr.Column(scale=1, min_width=280):
                files = image_field(gr, "or an image", several=False)
        message = answer_area(gr)
        why = answer_area(gr)
        grid = gr.HTML("", js_on_load=CLICK, elem_classes=["grid"])
        found = [message, grid, asked, why]
        gr.on([button.click, text.submit], answers.search, [text, files, where, count], found, **calls)

        def like(where: str, count: int, event: gr.EventData) -> Any:
            return answers.like(_image(event), where, count)

        def explain(text: str, event: gr.EventData) -> str:
            return answers.why(_image(event), text)

        grid.submit(like, [where, count], found, **calls)
        grid.click(explain, [asked], why, **calls)
    blocks.queue(max_size=WAITING, default_concurrency_limit=1)
    return blocks


def _image(event: Any) -> Any:
    """The id of the image whose button was clicked."""
    return (event._data or {}).get("image")


def _facts(answers: PageAnswers) -> str:
    index, model = answers.index, pathlib.Path(answers.index.record.model).name
    lines = [
        f"{len(index):,} images. Ask with a text of at most {MOST_CHARACTERS:,} characters, or with an image file of "
        f"at most {MOST_BYTES // 10**6} MB. Nothing leaves this machine, and nothing is kept.",
        f"Model: {index.model.config.model.name} of {model} ({index.record.fingerprint}).",
    ]
    if index.record.fragments:
        lines.append(
            f"The model scores a list of {answers.shortlist:,} images; an image that is not on the list is not found."
        )
    if answers.approximate:
        lines.append("The search uses the approximate index, which may miss some images.")
    return "".join(f"<p>{page.text(line)}</p>" for line in lines)
