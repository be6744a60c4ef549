"""A field for images that sends them within the request, and a place for answers.

Gradio's own fields for files keep each upload on the disk and tell the browser the path. So a page has a field of its
own, and pictures come back inside the HTML: nothing is kept, and no path of the machine leaves it.
"""

from typing import Any

from itm_jax.vision.items import SUFFIXES
from itm_jax.web.limits import MOST_BYTES, MOST_BYTES_OF_ALL, MOST_ITEMS

KINDS = ",".join(SUFFIXES)  # what the dialog of the browser offers
FIELD = """
<label class="choose">{{label}}<input type="file" accept="{{kinds}}" {{#if several}}multiple{{/if}}></label>
<p class="error" role="alert">{{problem}}</p>
<div class="chosen">{{#each value}}
<figure><img src="{{this.data}}" alt=""><figcaption>{{this.shown}}</figcaption></figure>
{{/each}}</div>
"""
# Gradio evaluates the filled template as JavaScript's template text, where a name with ${...} would be run: `plain`.
# The browser refuses what the server would refuse for its size, so that it does not have to send it.
READ = """
const plain = (name) => name.replace(/[\\\\`${}]/g, "_");
element.addEventListener("change", async (event) => {
  const files = Array.from(event.target.files || []);
  if (!files.length) return;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const large = files.find((file) => file.size > props.most_bytes);
  let problem = "";
  if (files.length > props.most) problem = `${files.length} images; choose at most ${props.most}`;
  else if (large) problem = `${plain(large.name)}: more than ${props.most_bytes / 1e6} MB; choose a smaller file`;
  else if (total > props.most_bytes_of_all) problem = `more than ${props.most_bytes_of_all / 1e6} MB together`;
  const read = (file) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve({name: file.name, shown: plain(file.name), data: reader.result});
    reader.onerror = () => resolve({name: file.name, shown: plain(file.name), data: ""});
    reader.readAsDataURL(file);
  });
  const value = problem ? [] : await Promise.all(files.map(read));
  props.problem = problem;
  props.value = value;
  trigger("change");
});
"""
STYLE = """
.gradio-container{max-width:1240px!important;margin:0 auto!important}
.facts{font-size:.9em;opacity:.85}.facts p{margin:.1em 0}
.choose{display:block;font-weight:600}
.choose input{display:block;width:100%;box-sizing:border-box;margin-top:.4em;padding:1.4em .8em;font-weight:400;
  border:2px dashed var(--border-color-primary);border-radius:8px;background:var(--background-fill-secondary)}
.chosen{display:flex;flex-wrap:wrap;gap:.6em;margin-top:.6em}
.chosen figure{margin:0;max-width:100%}.chosen img{max-height:110px;max-width:100%}
.chosen figure:only-child img{max-height:160px}
figcaption{font-size:.8em;overflow-wrap:anywhere;max-width:220px}
.error{color:#b0392b;font-weight:600;overflow-wrap:anywhere}.error:empty{display:none}
.dark .error{color:#ff8f80}
.answer{min-height:3em}.answer img{max-width:100%;height:auto}
.answer p{margin:.4em 0}.answer .note{font-size:.9em;opacity:.85}
.answer .score{font-size:1.2em}.answer .before{opacity:.7;font-size:.8em;margin-left:1em}
.answer table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}
.answer th,.answer td{padding:.25em .8em;text-align:left;border-bottom:1px solid var(--border-color-primary);
  vertical-align:top;overflow-wrap:anywhere}
.answer summary{cursor:pointer;font-weight:600;margin-top:.6em}
.answer .query{display:flex;flex-wrap:wrap;gap:1.2em;align-items:flex-start}.answer figure{margin:0}
.answer .answers{display:flex;flex-wrap:wrap;gap:1em}
"""


def image_field(gr: Any, label: str, *, several: bool) -> Any:
    """A field for images. Its value is a list of {"name", "data"} with data URLs."""
    limits = {"most": MOST_ITEMS if several else 1, "most_bytes": MOST_BYTES, "most_bytes_of_all": MOST_BYTES_OF_ALL}
    props = {"kinds": KINDS, "several": several, "problem": "", **limits}
    return gr.HTML([], label=label, html_template=FIELD, js_on_load=READ, elem_classes=["field"], **props)


def answer_area(gr: Any) -> Any:
    """Where an answer stands."""
    return gr.HTML("", js_on_load=None, elem_classes=["answer"])
