"""Run by tests in a process of its own: what the kernels give on a processor.

python on_processor.py bits        digests of what each operation and rule gives
python on_processor.py aarch64     the same with registers of four lanes, as there; and compiles the kernels for it
"""

import hashlib
import json
import re
import sys

import llvmlite.binding as llvm
import numpy as np
import torch
from numba.core.codegen import CPUCodeLibrary

from detox.aggregators import PREAGGREGATORS, RULES, votes
from detox.aggregators.kernels import gram, linear, order, vectors
from detox.aggregators.kernels.fast import FastRows

STAGES = RULES | PREAGGREGATORS


def digest(result):
    array = result.view(torch.int16).numpy() if isinstance(result, torch.Tensor) else np.ascontiguousarray(result)
    return hashlib.sha256(array.tobytes()).hexdigest()


def bits():
    found = {}
    for n, f, d, kind in ((7, 1, 1003, "float32"), (7, 1, 1003, "bfloat16"), (130, 9, 300, "float32")):
        x = np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)
        x[0, ::7], x[1, ::7], x[2, 40] = 0, -0.0, 1e30
        votes = x if kind == "float32" else torch.from_numpy(x).bfloat16()
        assert FastRows.serves(votes)
        given = FastRows(votes)
        results = {name: getattr(given, name)() for name in ("gram", "squared_norms", "sign_sum", "median")}
        results["precise"] = given.gram(precise=True)
        results["mix"] = given.mix(np.random.default_rng(0).random((2, n)))
        results["nearest_mean"] = given.nearest_mean(f, n - f)
        if n == 7 and kind == "float32":
            results |= {name: stage(votes, f=min(f, stage.tolerates(n))) for name, stage in STAGES.items()}
        found |= {f"{kind}, n = {n}: {name}": digest(result) for name, result in results.items()}
    return found


def aarch64():
    """The kernels of float32 for a Graviton or a Grace: names of vector instructions; an error where LLVM has none."""
    for module in (vectors, order, gram):
        module.native_lanes = lambda context: 4
    written = []
    add = CPUCodeLibrary.add_ir_module
    CPUCodeLibrary.add_ir_module = lambda library, module: (written.append(str(module)), add(library, module))[1]
    # Of seven vectors, as `bits` has them: what is compiled here is not compiled again there.
    x, ones, out = np.ones((7, 2048), np.float32), np.ones(7), np.empty((2, 2048), np.float32)
    a, kind, few = x.ctypes.data + np.arange(7) * x.strides[0], np.empty(0, np.float32), np.ones(2, np.float32)
    gram.gram(kind, a, 0, 2048)
    linear.squared_norms(kind, a, 0, 2048)
    linear.weighted_sum(a, ones, 0, 2048, out[0])
    linear.mean(a, ones, 0, 2048, out[0])
    linear.set_means(a, np.float32(ones), np.arange(3), np.arange(2), few, few, 0, 2048, out)
    linear.sign_sum(a, 0, 2048, out[0])
    order.reduce_tiles(a, 0, 2048, out[0], order.comparators(7), 3, 0)
    order.reduction(7, 1, 6)(a, 0, 2048, out[0])

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(cpu="neoverse-n1", opt=2)
    words, objects = set(), 0
    for text in written:
        assert "llvm.x86" not in text
        assert " asm " not in text
        text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
        text = re.sub(r'target triple = ".*"', f'target triple = "{machine.triple}"', text)
        module = llvm.parse_assembly(text)
        module.verify()
        passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
        passes.getModulePassManager().run(module, passes)
        words |= set(re.findall(r"^\s+([a-z]\w*)\s+v\d+\.[24][sd]", machine.emit_assembly(module), re.MULTILINE))
        objects += machine.emit_object(module).startswith(b"\x7fELF")
    return {"modules": len(written), "objects": objects, "vector instructions": sorted(words), "bits": bits()}


if __name__ == "__main__":
    votes.FAST_FROM = 0
    print(json.dumps({"bits": bits, "aarch64": aarch64}[sys.argv[1]]()))
