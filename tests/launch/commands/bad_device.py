#!/usr/bin/env python3
"""GPUs and NCCL as they should not be: one clear message, exit code 1, nobody left. What CUDA's half says where no GPU is shown,
and what the strict device (tests/strict_device) pretends to find.

Usage: bad_device.py MOETRAIN
"""
import cases

STRICT = str(cases.ROOT / "build/strict_device")


def bad_devices(bench):
    recipe = bench.recipe(length=2)

    def refused(name, words, **variables):
        bench.check_refused(name, bench.run_ranks("train", recipe, "--set", "run.device=cuda", **variables), *words)

    # By its driver where there is none, by the number of GPUs that are shown where there is one.
    refused("no GPU", ["run.device", "cuda", "cpu"], CUDA_VISIBLE_DEVICES="")
    refused("an old NCCL", ["NCCL", "2.20.5", "legal:"], LD_LIBRARY_PATH=STRICT, STRICT_DEVICE_NCCL="22005")
    refused("an interface that is not there", ["NCCL_SOCKET_IFNAME", "nowhere0", "lo"], LD_LIBRARY_PATH=STRICT,
            NCCL_SOCKET_IFNAME="nowhere0,=nowhere1")
    refused("an interface by its whole name", ["NCCL_SOCKET_IFNAME", "=l"], LD_LIBRARY_PATH=STRICT, NCCL_SOCKET_IFNAME="=l")
    bench.check("no run folder is left", not (bench.folder / "run").exists())
    done = bench.run_ranks("train", recipe, "--set", "run.device=cuda", LD_LIBRARY_PATH=STRICT, NCCL_SOCKET_IFNAME="^docker")
    bench.check("what is legal is not refused", done.returncode == 0, done.stderr[-2000:])


cases.main(bad_devices)
