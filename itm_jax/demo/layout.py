"""The page itself: two tabs of Gradio."""

from typing import Any

from itm_jax.demo.answers import Answers
from itm_jax.viz import page
from itm_jax.web.field import answer_area, image_field
from itm_jax.web.limits import MOST_BYTES, MOST_CHARACTERS, MOST_ITEMS, MOST_PIXELS, WAITING


def make_page(answers: Answers) -> Any:
    """Returns the page as Gradio's Blocks."""
    import gradio as gr

    title, *facts = answers.facts
    one_by_one: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
    with gr.Blocks(title=title, analytics_enabled=False) as blocks:
        lines = "".join(f"<p>{page.text(fact)}</p>" for fact in facts)
        gr.HTML(f'<h1>{page.text(title)}</h1><div class="facts">{lines}</div>', js_on_load=None)
        with gr.Tab("Match"):
            gr.HTML(page.note(_limits("an image and a caption", MOST_BYTES)), js_on_load=None)
            before = gr.State(None)
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    image = image_field(gr, "Image", several=False)
                with gr.Column(scale=2, min_width=320):
                    caption = gr.Textbox(label="Caption", lines=1, max_lines=4)
                    button = gr.Button("Match", variant="primary")
            answer = answer_area(gr)  # below, so that the picture has the whole width
            image.change(lambda: None, None, before, api_visibility="private")  # another image, another comparison
            asked = {"inputs": [image, caption, before], "outputs": [answer, before]}
            gr.on([button.click, caption.submit], answers.match, **asked, **one_by_one)
        with gr.Tab("Rank"):
            what = f"an image and up to {MOST_ITEMS} captions, or a caption and up to {MOST_ITEMS} images"
            gr.HTML(page.note(_limits(what, MOST_BYTES)), js_on_load=None)
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    images = image_field(gr, "Images", several=True)
                    captions = gr.Textbox(label="Captions, one in a line", lines=6, max_lines=MOST_ITEMS)
                    button = gr.Button("Rank", variant="primary")
                with gr.Column(scale=2, min_width=320):
                    answer = answer_area(gr)
            button.click(answers.rank, [images, captions], answer, **one_by_one)
    blocks.queue(max_size=WAITING, default_concurrency_limit=1)
    return blocks


def _limits(what: str, most_bytes: int) -> str:
    return (
        f"Give {what}. An image file has at most {most_bytes // 10**6} MB and {MOST_PIXELS // 10**6} million pixels, a "
        f"caption at most {MOST_CHARACTERS:,} characters. Nothing leaves this machine, and nothing is kept."
    )
