#!/usr/bin/env python3
"""Writes run folders, lets `moetrain report` make their pages, opens these in headless Chromium and checks that
the charts, maps and tables hold the runs' numbers. Usage: report_in_browser.py MOETRAIN [CHROMIUM]
"""
import html.parser
import json
import math
import pathlib
import subprocess
import sys
import tempfile

HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror=document.title="taken">&amp;'
LOADS = {1: [0.5, 0.25, 0.25, 0.0], 4: [0.1, 0.2, 0.3, 0.4]}
ROUTING = {"en": [0.7, 0.1, 0.2, 0.0], HOSTILE: [0.25, 0.25, 0.25, 0.25]}
# kind, resource, layer, chunk, bytes, rows, begin, end [us]; of one rank, after a first micro-batch of 5 ms.
TASKS = [("dense", "compute", 0, 0, 0, 0, 1000, 4000), ("dense", "compute", 0, 0, 0, 0, 5000, 9000),
         ("dispatch", "between_hosts", 0, 0, 4096, 0, 9000, 11000), ("dispatch", "between_hosts", 0, 1, 4096, 0, 9500, 12000),
         ("all_gather", "inside_host", 0, 0, 2048, 0, 11000, 11500), ("experts", "compute", 0, 0, 0, 64, 11500, 13500),
         ("combine", "between_hosts", 0, 0, 4096, 0, 13000, 15000), ("gradient", "between_hosts", -1, 2, 1e6, 0, 15000, 21000)]
failures = []


def expect(what, found, wanted):
    if found != wanted:
        failures.append(f"{what}: found {str(found)[:300]}, wanted {str(wanted)[:300]}")


class Page(html.parser.HTMLParser):
    """Collects the text of the elements with an id, and of the title."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.open = {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in ("meta", "br", "img", "input", "col"):
            return
        name = dict(attributes).get("id", tag if tag == "title" else None)
        self.open.append((tag, name))
        if name:
            self.texts.setdefault(name, "")

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for _, name in self.open:
            if name:
                self.texts[name] += data


def step_line(step, loss, speed=1000.0):
    return {"event": "step", "step": step, "tokens": step * 512,
            "loss": {"total": loss + 0.02, "next_token": loss, "load_balance": 0.015, "router_z": 0.005},
            "gradient_norm": 1.0 + 1.0 / step, "learning_rate": 0.001 * step, "tokens_per_second": speed,
            "seconds": {"data": 0.001, "forward": 0.02, "backward": 0.04, "reduce": 0.003, "optimizer": 0.006},
            "imbalance": 2.0 - 0.01 * step, "dropped": 0,
            "layers": [{"layer": layer, "load": load, "dropped": 0, "entropy": 1.2 + layer}
                       for layer, load in LOADS.items()]}


def evaluation(step, loss):
    groups = {name: {"loss": loss + i, "bits_per_byte": (loss + i) / 2, "tokens": 1000 + i, "bytes": 4000}
              for i, name in enumerate(ROUTING)}
    return {"step": step, "loss": loss, "bits_per_byte": loss / 2, "groups": groups}


def trace_of(tasks, ranks, predicted=True):
    """As the trainer writes it: each rank a tenth slower than the one before, the prediction last."""
    processes = ranks + (1 if predicted else 0)
    events = [{"name": f"{kind} {layer}", "cat": kind, "ph": "X", "pid": pid, "tid": 0, "ts": begin * (1 + pid / 10),
               "dur": (end - begin) * (1 + pid / 10),
               "args": {"kind": kind, "resource": resource, "direction": "forward", "layer": layer, "chunk": chunk,
                        "bytes": size, "rows": rows}}
              for pid in range(processes) for kind, resource, layer, chunk, size, rows, begin, end in tasks]
    ends = [{"last_begin": 5000 * (1 + pid / 10), "end": 25000 * (1 + pid / 10)} for pid in range(processes)]
    return {"otherData": {"format": "moetrain step, 1", "update": 7, "predicted": predicted, "processes": ends},
            "traceEvents": [{"name": HOSTILE, "ph": "M", "pid": 0, "args": {"name": HOSTILE}}] + events}


def open_page(binary, chromium, folder, lines, extra):
    folder.mkdir()
    with open(folder / "metrics.jsonl", "w", encoding="utf-8") as metrics:
        for line in lines:
            metrics.write(json.dumps(line) + "\n")
    for name, content in extra.items():
        (folder / name).write_text(content, encoding="utf-8")
    subprocess.run([binary, "report", str(folder)], check=True, timeout=900)
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=5000", "--dump-dom",
               (folder / "report.html").absolute().as_uri()]
    dom = subprocess.run(command, check=True, timeout=900, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    page = Page(dom.decode("utf-8"))
    if "drawn" not in page.texts:
        sys.exit(f"{folder.name}: the page has no #drawn: its script did not come to its end")
    return page, json.loads(page.texts["drawn"])


def dataset(drawn, chart, label):
    held = {one["label"]: one["data"] for one in drawn["charts"].get(chart, {"datasets": []})["datasets"]}
    return held.get(label, f"no dataset '{label}' in chart '{chart}', only {sorted(held)}")


def check_short_run(binary, chromium, folder):
    """20 steps: every number is on the page as it is in the files."""
    steps = [step_line(step, 5.0 - math.log(step), 1000.0 + step) for step in range(1, 21)]
    steps[6]["gradient_norm"] = None
    evaluations = [{"event": "evaluate", **evaluation(step, 4.0 - step / 10)} for step in (10, 20)]
    start = {"event": "start", "time": "2026-01-01T00:00:00Z", "build": "b", "recipe_hash": HOSTILE, "ranks": 2,
             "threads": 1, "model": HOSTILE, "parameters": {"total": 12_300_000, "active": 4_560_000}}
    final = evaluation(20, 1.9)
    final["routing"] = [{"layer": 4, "experts": 4, "groups": ROUTING}]
    final["translation"] = {HOSTILE: {"sentences": 1000, "bleu": 36.125, "bleu_lowercase": 37.5, "chrf": 60.0}}
    stages = [{"event": "stage", "step": at, "number": i + 1, "stages": 2, "name": name, "updates": 10, "surgery": surgery,
               "model": HOSTILE, "parameters": {"total": 12_300_000, "active": 4_560_000, "trained": 2_000_000}, "carried": 7 * i}
              for i, (at, name, surgery) in enumerate([(0, "dense", ""), (10, HOSTILE, "copy")])]
    page, drawn = open_page(binary, chromium, folder,
                            [start, *stages, *steps, *evaluations, {"event": "end", "step": 20, "reason": "done"}],
                            {"evaluation.json": json.dumps(final), "recipe.toml": f"# {HOSTILE}\n"})

    curve = lambda read: [[line["step"], read(line)] for line in steps]
    expect("training loss", dataset(drawn, "loss", "training, next token"), curve(lambda line: line["loss"]["next_token"]))
    expect("held-out loss", dataset(drawn, "loss", "held out"), [[one["step"], one["loss"]] for one in evaluations])
    expect("load balance", dataset(drawn, "auxiliary-0", "load_balance"), curve(lambda line: 0.015))
    expect("router z", dataset(drawn, "auxiliary-1", "router_z"), curve(lambda line: 0.005))
    for chart in ("gradient_norm", "learning_rate", "tokens_per_second", "imbalance"):
        expect(chart, dataset(drawn, chart.replace("_", "-"), chart.replace("_", " ")), curve(lambda line: line[chart]))
    for layer in LOADS:
        expect("entropy", dataset(drawn, "entropy", f"layer {layer}"), curve(lambda line: 1.2 + layer))
    for name in ROUTING:
        expect("bits per byte", dataset(drawn, "group-curves", name),
               [[one["step"], one["groups"][name]["bits_per_byte"]] for one in evaluations])
    for phase, seconds in steps[0]["seconds"].items():
        expect(phase, dataset(drawn, "phases", phase), [seconds * 1000] * 20)
    expect("phase steps", drawn["charts"]["phases"]["labels"], list(range(1, 21)))

    maps = {one["layer"]: one["load"] for one in drawn["load_maps"]}
    for layer, load in LOADS.items():
        expect(f"load of layer {layer}", maps[layer]["columns"], [[round(4 * part, 4) for part in load]] * 20)
    expect("routing", drawn["routing_maps"],
           [{"layer": 4, "group": name, "begin": 0, "cells": [f"{100 * share:.1f}" for share in shares]} for name, shares in ROUTING.items()])
    expect("stages", drawn["stages"], [["1", "dense", "0", "10", "–", "2 M", "12.3 M", "–"],
                                       ["2", HOSTILE, "10", "10", "copy", "2 M", "12.3 M", "7 weights"]])
    expect("scores", drawn["scores"], [["en", "0.950", "1.900", "1,000"], [HOSTILE, "1.450", "2.900", "1,001"], ["All", "0.950", "1.900", "2,001"]])
    expect("translation", drawn["translation"], [[HOSTILE, "1,000", "36.13", "37.50", "60.00"]])
    expect("cards", {label: texts[0] for label, texts in drawn["cards"].items()},
           {"Bits per byte": "0.950", "Held-out loss": "1.900nats", "Tokens per second": "1.01k", "Parameters": "12.3M",
            "Worst imbalance": "1.99×", "Dropped": "0%", "BLEU": "36.13"})
    expect("title", page.texts["title"], f"{folder.name} · moetrain run report")
    expect("model", page.texts["model"], HOSTILE)
    expect("recipe", page.texts["recipe-text"], f"# {HOSTILE}\n")
    expect("state", page.texts["state"], "done")


def check_long_run(binary, chromium, folder):
    """5,000 steps after a resume, cut short by a kill: fewer points, the peak among them, and the page says so."""
    steps = [step_line(step, 9.0) for step in range(1, 101)] + [{"event": "resume", "step": 50}]
    steps += [step_line(step, 3.0 + 0.5 * math.sin(step)) for step in range(51, 5001)]
    steps[3000]["loss"]["next_token"] = 77.0
    peak = [steps[3000]["step"], 77.0]
    page, drawn = open_page(binary, chromium, folder, steps, {})
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as metrics:
        metrics.write('{"event":"step","st')
    subprocess.run([binary, "report", str(folder)], check=True, timeout=900)
    points = dataset(drawn, "loss", "training, next token")
    expect("at most 600 points", 300 < len(points) <= 600, True)
    expect("the peak is kept", peak in points, True)
    expect("ends", [points[0], points[-1][0]], [[1, 9.0], 5000])
    expect("replaced steps", [at for at in points if at[0] > 50 and at[1] == 9.0], [])
    expect("running mean", len(dataset(drawn, "loss", "training, running mean")) > 300, True)
    expect("columns", [len(one["load"]["columns"]) for one in drawn["load_maps"]], [120, 120])
    expect("bars", len(drawn["charts"]["phases"]["labels"]), 60)
    for remark in ("Resumed at step 50", "at most 600 points", "120 columns"):
        expect(f"remark '{remark}'", remark in page.texts["notes"], True)
    expect("cut line", "cut short at line 5052" in (folder / "report.html").read_text(encoding="utf-8"), True)
    expect("state", page.texts["state"], "not ended")


def check_bare_run(binary, chromium, folder):
    """A dense run's first line: no layers and so no load, no evaluation, no start. The page still comes to its end."""
    _, drawn = open_page(binary, chromium, folder, [{"event": "step", "step": 1, "loss": {"total": 2.5}, "imbalance": 0.0, "dropped": 0}], {})
    expect("no cards of a load", drawn["cards"], {})
    expect("loss", dataset(drawn, "loss", "training, total"), [[1, 2.5]])
    expect("charts", list(drawn["charts"]), ["loss"])
    expect("no timeline", [drawn["timelines"], drawn["exposed"], drawn["hidden"]["timeline"]], [[], [], True])


def check_diverged_run(binary, chromium, folder):
    """One loss between gaps, then nothing but gaps: what is no number is no point, no bar and no sum."""
    steps = [step_line(step, 5.0) for step in range(1, 9)]
    for line in steps[1:2] + steps[3:]:
        line["loss"] = dict.fromkeys(line["loss"])
        line["gradient_norm"] = line["imbalance"] = None
        line["layers"] = [{"layer": 1, "load": [None] * 4, "dropped": None, "entropy": None}]
    last = {"event": "evaluate", "step": 8, "loss": None, "bits_per_byte": None,
            "groups": {"en": {"loss": None, "bits_per_byte": None, "tokens": 0, "bytes": 0}}}
    scores = {"en-de": {"sentences": 2, "bleu": None, "bleu_lowercase": None, "chrf": None},
              "en-fr": {"sentences": 2, "bleu": 30.0, "bleu_lowercase": 30.0, "chrf": 50.0}}
    page, drawn = open_page(binary, chromium, folder, [*steps, last], {"evaluation.json": json.dumps(last | {"translation": scores})})
    expect("losses", dataset(drawn, "loss", "training, next token"), [[step, 5.0 if step in (1, 3) else None] for step in range(1, 9)])
    expect("lonely losses are dots", drawn["charts"]["loss"]["datasets"][0]["dots"], 2)
    expect("gradient norm", [at for at in dataset(drawn, "gradient-norm", "gradient norm") if at[1] is not None], [[1, 2.0], [3, 1 + 1 / 3]])
    expect("scores", drawn["scores"], [["en", "–", "–", "0"], ["All", "–", "–", "0"]])
    expect("translation", drawn["translation"], [["en-de", "2", "–", "–", "–"], ["en-fr", "2", "30.00", "30.00", "50.00"]])
    expect("cards", {label: texts[0] for label, texts in drawn["cards"].items() if label in ("Bits per byte", "Held-out loss", "BLEU")},
           {"Bits per byte": "–", "Held-out loss": "–nats", "BLEU": "30.00"})
    expect("remark", "25 loss values are not finite" in page.texts["notes"], True)


def check_timelines(binary, chromium, folder):
    """Two ranks and a prediction: the first rank above the prediction, on one scale, and what of it was exposed."""
    _, drawn = open_page(binary, chromium, folder, [step_line(1, 2.5)], {"trace.json": json.dumps(trace_of(TASKS, 2))})
    expect("timelines", [one["name"] for one in drawn["timelines"]], ["rank 0", "predicted"])
    lanes = ["compute", "inside_host", "between_hosts"]
    for one, slower in zip(drawn["timelines"], (1.0, 1.2)):
        found = sorted((task["lane"], round(task["begin"], 6), round(task["end"], 6), task["kind"]) for task in one["tasks"])
        expect(f"tasks of {one['name']}", found,
               sorted((lanes.index(resource), round(slower * (begin - 5000) / 1000, 6), round(slower * (end - 5000) / 1000, 6), kind)
                      for kind, resource, _, _, _, _, begin, end in TASKS[1:]))
    texts = {task["text"] for task in drawn["timelines"][0]["tasks"]}
    expect("hover texts", texts,
           {"dense, forward, at layer 0: 4 ms, from 0 to 4", "dispatch, forward, layer 0, chunk 0, 4.1 kB: 2 ms, from 4 to 6",
            "dispatch, forward, layer 0, chunk 1, 4.1 kB: 2.5 ms, from 4.5 to 7", "all gather, forward, layer 0, chunk 0, 2.05 kB: 0.5 ms, from 6 to 6.5",
            "experts, forward, layer 0, chunk 0, 64 rows: 2 ms, from 6.5 to 8.5", "combine, forward, layer 0, chunk 0, 4.1 kB: 2 ms, from 8 to 10",
            "gradient, forward, slice 2, 1 MB: 6 ms, from 10 to 16"})
    # Links are busy from 4 to 7 and from 8 to 16 ms, and compute up to 4 and from 6.5 to 8.5.
    numbers = {"Step": 20, "Compute busy": 6, "Link inside the host busy": 0.5, "Link between hosts busy": 11,
               "Communication exposed": 10, "Communication hidden": 1}
    expect("exposed and hidden", drawn["exposed"],
           [[name] + [f"{number * slower:.2f} ms" for slower in (1, 1.05, 1.2)] for name, number in numbers.items()])
    _, alone = open_page(binary, chromium, folder.with_name("unpredicted"), [step_line(1, 2.5)],
                         {"trace.json": json.dumps(trace_of(TASKS, 1, predicted=False))})
    expect("one rank, no prediction", [[one["name"] for one in alone["timelines"]], [len(row) for row in alone["exposed"]]],
           [["rank 0"], [2] * 6])


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    binary, chromium = sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "chromium"
    with tempfile.TemporaryDirectory() as place:
        for name, check in (("short_run", check_short_run), ("long_run", check_long_run), ("bare_run", check_bare_run),
                            ("diverged_run", check_diverged_run),
                            ("traced_run", check_timelines)):
            check(binary, chromium, pathlib.Path(place) / name)
    if failures:
        sys.exit("the page differs from the run:\n" + "\n".join(failures))
    print("the charts, maps, timelines and tables of 6 pages hold their runs' numbers")


if __name__ == "__main__":
    main()
