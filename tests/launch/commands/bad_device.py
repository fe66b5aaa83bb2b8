#!/usr/bin/env python3
"""GPUs and NCCL as they should not be: one clear message, exit code 1, nobody left. What CUDA's half says where no GPU is shown,
and what the strict device (tests/strict_device) pretends to find.

Usage: bad_device.py MOETRAIN
"""
import cases

STRICT = str(cases.ROOT / "build/strict_device")


def bad_devices(bench):
    recipe = bench.recipe(length=2)

    def refused(name, words, ranks=2, **variables):
        bench.check_refused(name, bench.run_ranks("train", recipe, "--set", "run.device=cuda", ranks=ranks, **variables), *words)

    # By its driver where there is none, by the number of GPUs that are shown where there is one.
    refused("no GPU", ["run.device", "cuda", "cpu"], CUDA_VISIBLE_DEVICES="")
    refused("no GPU shown", ["CUDA_VISIBLE_DEVICES=\"\"", "0 are visible", "legal:"], LD_LIBRARY_PATH=STRICT, STRICT_DEVICE_GPUS="0",
            CUDA_VISIBLE_DEVICES="")
    refused("more ranks than GPUs", ["rank 1", "1 are visible", "legal:"], LD_LIBRARY_PATH=STRICT, STRICT_DEVICE_GPUS="1")
    refused("UUIDs of fewer GPUs than ranks", ["rank 2", "2 are visible", "GPU-8f,GPU-90"], ranks=3, LD_LIBRARY_PATH=STRICT,
            STRICT_DEVICE_GPUS="2", CUDA_VISIBLE_DEVICES="GPU-8f,GPU-90")
    refused("one GPU for two ranks", ["ranks 0-1", "GPU-8f", "legal:"], LD_LIBRARY_PATH=STRICT, STRICT_DEVICE_GPUS="1",
            CUDA_VISIBLE_DEVICES="GPU-8f", STRICT_DEVICE_IDS="GPU-8f")
    refused("GPUs of two kinds", ["different kinds", "ranks 0, 2 have A100", "rank 1 H200", "legal:"], ranks=3, LD_LIBRARY_PATH=STRICT,
            STRICT_DEVICE_KINDS="A100,H200,A100")
    refused("NCCL of another major version", ["NCCL", "30.0.1", "another major", "legal:"], LD_LIBRARY_PATH=STRICT,
            STRICT_DEVICE_NCCL="300001")
    refused("an old NCCL", ["NCCL", "2.20.5", "legal:"], LD_LIBRARY_PATH=STRICT, STRICT_DEVICE_NCCL="22005")
    refused("an interface that is not there", ["NCCL_SOCKET_IFNAME", "nowhere0", "lo"], LD_LIBRARY_PATH=STRICT,
            NCCL_SOCKET_IFNAME="nowhere0,=nowhere1")
    refused("an interface by its whole name", ["NCCL_SOCKET_IFNAME", "=l"], LD_LIBRARY_PATH=STRICT, NCCL_SOCKET_IFNAME="=l")
    bench.check("no run folder is left", not (bench.folder / "run").exists())
    done = bench.run_ranks("train", recipe, "--set", "run.device=cuda", LD_LIBRARY_PATH=STRICT, NCCL_SOCKET_IFNAME="^docker",
                           STRICT_DEVICE_GPUS="1", CUDA_VISIBLE_DEVICES="GPU-8f", STRICT_DEVICE_IDS="GPU-8f,GPU-90")
    bench.check("what is legal is not refused", done.returncode == 0, done.stderr[-2000:])


cases.main(bad_devices)
