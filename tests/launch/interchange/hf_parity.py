"""Trains tiny models with the program itself, exports them, and compares `transformers` with the program.

Usage: hf_parity.py MOETRAIN_BINARY [--keep FOLDER]. Needs nothing but the command line of the program; see `Program`.
For each case: the same token ids, logits within 1e-4 in float32, the same text under greedy decoding. Where a case
fails it says so and the others still run. The last line is the figure; it exits 1 where it falls short.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers

TOLERANCE = 1e-4
GREEDY_TOKENS = 32
UPDATES = 3
REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PROMPT = "The License is"
# Spaces in a row, tab, newline, accents, a symbol of four bytes, a literal space mark: all must come back as they were.
TEXT = "You may  reproduce\tcopies of the Work,\nça va? größer 🙂 a\u2581b (see Section 4)."

MIXTURE = {"moe.experts": 6, "moe.top_k": 2, "moe.hidden": 48}
# name, tokenizer, architecture, recipe keys beyond those of `recipe_text`
CASES = [
    ("mixtral", "sentencepiece", "MixtralForCausalLM", MIXTURE | {"model.tie_embeddings": False}),
    ("mixtral_bytes", "byte", "MixtralForCausalLM", MIXTURE | {"moe.top_k": 3}),
    ("shared_expert", "sentencepiece", "Qwen2MoeForCausalLM", MIXTURE | {"moe.shared_hidden": 32}),
    ("shared_ungated", "byte", "Qwen2MoeForCausalLM", MIXTURE | {"moe.shared_hidden": 32, "moe.shared_gate": False}),
    ("dense_blocks_raw", "sentencepiece", "Qwen2MoeForCausalLM",
     MIXTURE | {"moe.layers": "odd", "moe.gate": "raw", "model.tie_embeddings": False}),
    ("llama", "byte", "LlamaForCausalLM", {"moe.layers": "none"}),
]


class Program:
    """The command lines that the comparison leans on; every one is in this class."""

    def __init__(self, binary):
        self.binary = str(pathlib.Path(binary).resolve())

    def prepare(self, text, tokenizer, out):
        vocabulary = ["--vocabulary", "600"] if tokenizer == "sentencepiece" else []
        self._run("prepare", "--text", text, "--tokenizer", tokenizer, *vocabulary, "--output", out)

    def train(self, recipe):
        self._run("train", recipe)

    def export(self, run, out):
        self._run("export", run, out)

    def logits(self, run, text):
        """{"tokens": [ids], "logits": [[one per vocabulary entry], one per token]}"""
        return json.loads(self._run("inspect", run, "--logits", text))

    def generate(self, run, prompt, tokens):
        """The continuation; the program may print the prompt before it and a newline after it."""
        printed = self._run("generate", run, "--prompt", prompt, "--tokens", str(tokens), "--greedy")
        printed = printed.decode("utf-8", errors="replace").removesuffix("\n")
        return printed.removeprefix(prompt)

    def _run(self, *arguments):
        command = [self.binary, *map(str, arguments)]
        # Fail on tiny machines for what is wrong, not for being root in a container.
        environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        done = subprocess.run(command, capture_output=True, env=environment, timeout=900)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\nexit {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout


def recipe_text(token_file, run, changes):
    keys = {
        "run.folder": str(run), "run.seed": 5,
        "data.file": str(token_file), "data.sequence_length": 128,
        "model.layers": 2, "model.width": 48, "model.heads": 4, "model.kv_heads": 2, "model.ffn_hidden": 96,
        # Large weights and steps: logits must differ between tokens by far more than the tolerance.
        "model.init_std": 0.15, "optimizer.learning_rate": 0.01, "schedule.warmup": "1u",
        "train.length": f"{UPDATES}u", "train.global_batch": 4, "train.log_every": "1u",
        "checkpoint.every": "0u",
    } | changes
    sections = {}
    for key, value in keys.items():
        section, field = key.split(".")
        sections.setdefault(section, []).append(f"{field} = {json.dumps(value)}")
    return "\n".join(f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in sections.items())


def own_text(folder):
    """The licence, a file for each few paragraphs, with other letters so that byte pieces are trained as well."""
    folder.mkdir()
    paragraphs = (REPOSITORY / "LICENSE").read_text(encoding="utf-8").split("\n\n")
    for start in range(0, len(paragraphs), 4):
        part = "\n\n".join(paragraphs[start : start + 4])
        text = f"{part}\n\nça va où? größer, señor 🙂\n\n{part.upper()}\n"
        (folder / f"part_{start:03}.txt").write_text(text, encoding="utf-8")
    return folder / "*.txt"


def require(holds, message):
    if not holds:
        raise RuntimeError(message)


def compare_logits(inspected, tokenizer, model):
    """The largest difference; the prefix (nothing, or an end of text) that the program puts before a text."""
    tokens, own_ids = inspected["tokens"], tokenizer.encode(TEXT)
    prefix = tokens[: len(tokens) - len(own_ids)]
    require(tokens == prefix + own_ids and prefix in ([], [tokenizer.eos_token_id]),
            f"token ids differ: program {tokens}, transformers {own_ids}")
    require(tokenizer.decode(own_ids) == TEXT, f"transformers decodes {tokenizer.decode(own_ids)!r}")
    ours = torch.tensor(inspected["logits"], dtype=torch.float64)
    with torch.no_grad():
        theirs = model(torch.tensor([tokens])).logits[0].double()
    require(ours.shape == theirs.shape, f"logits have shapes {list(ours.shape)} and {list(theirs.shape)}")
    require(ours.std().item() > 0.1, f"the logits hardly differ (deviation {ours.std().item():.3g}): a void comparison")
    return (ours - theirs).abs().max().item(), prefix


def greedy_text(tokenizer, model, prefix):
    prompt = torch.tensor([prefix + tokenizer.encode(PROMPT)])
    with torch.no_grad():
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=GREEDY_TOKENS,
                             do_sample=False)
    return tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True)


def check_case(program, case, token_files, folder):
    """(largest logit difference, whether the greedy text is the same)"""
    name, tokenizer_kind, architecture, changes = case
    folder = folder / name
    folder.mkdir()
    recipe, run, exported = folder / "recipe.toml", folder / "run", folder / "exported"
    recipe.write_text(recipe_text(token_files[tokenizer_kind], run, changes), encoding="utf-8")
    program.train(recipe)
    program.export(run, exported)
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    model, problems = transformers.AutoModelForCausalLM.from_pretrained(exported, output_loading_info=True)
    for problem, names in problems.items():
        require(not names, f"{problem}: {names}")
    require(type(model).__name__ == architecture, f"exported as {type(model).__name__}, expected {architecture}")
    require(model.dtype == torch.float32, f"loads as {model.dtype}")
    difference, prefix = compare_logits(program.logits(run, TEXT), tokenizer, model)
    ours, theirs = program.generate(run, PROMPT, GREEDY_TOKENS), greedy_text(tokenizer, model, prefix)
    if ours != theirs:
        print(f"  {name}: program      {ours!r}\n  {name}: transformers {theirs!r}")
    return difference, ours == theirs


def run_cases(program, folder):
    text = own_text(folder / "text")
    token_files = {}
    for kind in sorted({case[1] for case in CASES}):
        token_files[kind] = folder / f"{kind}.h5"
        program.prepare(text, kind, token_files[kind])
    worst, equal, failed = 0.0, 0, 0
    for case in CASES:
        name, kind, architecture, _ = case
        try:
            difference, same_text = check_case(program, case, token_files, folder)
        except (RuntimeError, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            print(f"{name}: FAILED: {error}", flush=True)
            failed += 1
            continue
        worst, equal = max(worst, difference), equal + same_text
        print(f"{name}: {architecture} {kind} max_logit_difference={difference:.2e} "
              f"greedy={'equal' if same_text else 'DIFFERENT'}", flush=True)
    return worst, equal, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", metavar="MOETRAIN_BINARY")
    parser.add_argument("--keep", metavar="FOLDER", help="work in this new folder and leave it behind")
    options = parser.parse_args()
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"{options.binary}: no such program")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(options.keep or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=not options.keep)
        worst, equal, failed = run_cases(Program(options.binary), folder)
    cases = len(CASES)
    verdict = f" failed={failed}" if failed else ""
    print(f"hf_parity max_logit_difference={worst:.2e} cases={cases} greedy_equal={equal}/{cases}{verdict}")
    sys.exit(0 if worst <= TOLERANCE and equal == cases and failed == 0 else 1)


if __name__ == "__main__":
    main()
