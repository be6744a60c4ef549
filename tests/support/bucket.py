"""A local stand-in for S3 (moto)."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest


@contextlib.contextmanager
def empty_bucket(name):
    """Starts the stand-in, sets its address in the environment, and gives `s3://name`."""
    pytest.importorskip("moto", reason="pip install -e '.[emulators]'")
    pytest.importorskip("flask", reason="pip install -e '.[emulators]'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    line = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    settings = {
        "AWS_ENDPOINT": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
    ):
        for variable, value in settings.items():
            patch.setenv(variable, value)
        try:
            began = time.monotonic()
            while True:
                try:
                    request = urllib.request.Request(f"{address}/{name}", method="PUT")
                    urllib.request.urlopen(request, timeout=5).close()
                    break
                except urllib.error.URLError:
                    assert time.monotonic() - began < 60, "the stand-in did not start"
                    time.sleep(0.1)
            yield f"s3://{name}"
        finally:
            server.kill()
