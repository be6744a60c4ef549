"""The local stand-in for the hub (support/hub.py) takes what huggingface_hub pushes, and gives it back."""

import json

import numpy as np
from safetensors.numpy import save_file
from support.hub import Hub

PUSH = """
import json, pathlib, sys
import huggingface_hub
from huggingface_hub import HfApi, errors
root = pathlib.Path(sys.argv[1])
api = HfApi(token="hf_write")


def refused(call, *arguments, **more):
    try:
        call(*arguments, **more)
    except errors.HfHubHTTPError as e:
        return e.response.status_code


out = {"user": api.whoami()["name"]}
out["created"] = str(api.create_repo("user/model"))
api.create_repo("user/model", exist_ok=True)
out["twice"] = refused(api.create_repo, "user/model")
first = api.upload_folder(folder_path=root / "model", repo_id="user/model", commit_message="First")
(root / "model" / "config.json").write_text('{"a": 2}')
(root / "model" / "text" / "vocab.txt").unlink()
second = api.upload_folder(folder_path=root / "model", repo_id="user/model", delete_patterns="*.txt")
out["same"] = api.upload_folder(folder_path=root / "model", repo_id="user/model").oid == second.oid
out["behind"] = refused(api.upload_folder, folder_path=root / "other", repo_id="user/model", parent_commit=first.oid)
out["read"] = refused(HfApi(token="hf_read").upload_folder, folder_path=root / "other", repo_id="user/model")
out["nobody"] = refused(HfApi(token=False).create_repo, "user/more")
out["wrong"] = refused(HfApi(token="hf_wrong").model_info, "user/model")
out["others"] = refused(api.create_repo, "other/model")
out["missing"] = refused(api.upload_folder, folder_path=root / "other", repo_id="user/nothing")
api.create_repo("user/secret", private=True)
out["secret"] = [refused(HfApi(token=x).model_info, "user/secret") for x in (False, "hf_write")]
for key, commit in {"first": first, "second": second}.items():
    folder = pathlib.Path(huggingface_hub.snapshot_download("user/model", revision=commit.oid))
    out[key] = {
        p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()
    }
print(json.dumps(out))
"""


def test_a_folder_is_pushed_and_read_back(tmp_path):
    model, other = tmp_path / "model", tmp_path / "other"
    (model / "text").mkdir(parents=True)
    other.mkdir()
    (other / "new.json").write_text("{}")
    (model / "config.json").write_text("{}")
    (model / "text" / "vocab.txt").write_text("a\nb\n")
    (model / "README.md").write_text("---\nlicense: mit\n---\nA model.\n")
    save_file({"x": np.zeros(3 << 20, np.float32)}, model / "model.safetensors")
    with Hub(tmp_path / "hub") as hub:
        done = hub.python(tmp_path, PUSH, tmp_path)
        assert done.returncode == 0, done.stderr
        out = json.loads(done.stdout)
        uploads = [r for r in hub.requests if r.method == "PUT"]
        pushed = hub.folder("user/model") / "model.safetensors"
        assert pushed.read_bytes() == (model / "model.safetensors").read_bytes()
        assert (hub.folder("user/model") / "config.json").read_text() == '{"a": 2}'
    sizes = {"config.json": 2, "README.md": 30, "text/vocab.txt": 4, "model.safetensors": pushed.stat().st_size}
    assert out.pop("first") == sizes
    assert out.pop("second") == {k: v for k, v in sizes.items() if k != "text/vocab.txt"} | {"config.json": 8}
    assert out == {
        "user": "user", "created": f"{hub.url}/user/model", "twice": 409, "same": True, "behind": 412, "read": 403,
        "nobody": 401, "wrong": 401, "others": 403, "missing": 404, "secret": [401, None],
    }  # fmt: skip
    assert len(uploads) == 1, "the weights are sent once"
