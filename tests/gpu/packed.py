"""What tests/gpu/pack and tests/gpu/check share: how a packed program is started."""
import importlib.util
import os
import pathlib


def torch_folder():
    """LibTorch, of the Python that runs this."""
    found = importlib.util.find_spec("torch")
    if found is None:
        raise SystemExit("this Python has no torch; legal: the Python that holds the LibTorch which moetrain was built with")
    return pathlib.Path(found.origin).parent


def environment(folder, torch):
    """Of the programs in `folder`: what they find there, in LibTorch's folder and in NVIDIA's wheels beside it."""
    libraries = [folder / "lib", folder, torch / "lib", *sorted(torch.parent.glob("nvidia/*/lib"))]
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": os.environ.get("HOME", "/tmp"),
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)), "HWLOC_PLUGINS_PATH": str(folder / "modules"),
            "OPAL_PKGLIBDIR": str(folder / "modules"), "OMPI_MCA_mca_base_component_path": str(folder / "modules"),
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "MOETRAIN_BINARY": str(folder / "moetrain")}
