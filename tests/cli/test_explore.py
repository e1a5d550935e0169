"""`minicnn explore` and `minicnn graph`: a file, a server that Ctrl-C ends, a drawing, and what is refused."""

import http.client
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

SMALL = ("--width", 2, "--size", 32)


def test_explore_writes_one_file(run, one_line, tmp_path):
    path = tmp_path / "page.html"
    code, text, _ = run("explore", "resnet18", *SMALL, "--layer", "layer1", "--html", path)
    assert code == 0
    assert "8 of 45 steps" in text
    assert path.read_text().startswith("<!DOCTYPE html>")
    code, _, err = run("explore", "resnet18", *SMALL, "--layer", "layer9", "--html", path)
    assert (code, "no such layer" in one_line(err)) == (2, True)


def test_explore_serves_until_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "minicnn", "explore", "resnet18", "--width", "2", "--size", "32", "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        url = process.stdout.readline().strip()
        host, _, path = url.removeprefix("http://").partition("/")
        assert host.startswith("127.0.0.1:")
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("GET", f"/{path}")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == ""
    assert err.splitlines()[-1] == "minicnn: explore ended"
    assert "Traceback" not in err


def test_graph_draws(run, tmp_path):
    path = tmp_path / "graph.svg"
    code, text, _ = run("graph", "resnet18", *SMALL, "--backward", "--out", path)
    assert (code, text.strip()) == (0, f"{path}: 45 operations")
    drawn = path.read_text()
    ET.fromstring(drawn)
    assert "‖∂weight‖" in drawn
    code, text, _ = run("graph", "vae")
    assert code == 0
    assert ET.fromstring(text).tag.endswith("svg")
    assert "‖" not in text
    assert "‖∂x‖" in run("graph", "vae", "--backward")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explore", "nothing"), "no such model"),
        (("explore", "cnn", "nowhere.png"), "nowhere.png"),
        (("explore", "cnn", "--html", "no/such/folder/page.html"), "no/such/folder"),
        (("explore", "cnn", "--label", "99"), "no such class"),
        (("graph", "nothing.h5"), "no such weights file"),
        (("graph", "cnn", "--out", "no/such/folder/graph.svg"), "no/such/folder"),
    ],
)
def test_what_is_refused_in_one_line(run, one_line, words, said):
    code, _, err = run(*words)
    assert code == 2
    assert said in one_line(err)
