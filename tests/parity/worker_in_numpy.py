"""A worker as another language would write it: the protocol of parity with NumPy and safetensors alone.

It computes the shallow autoencoder. Its first argument says how to misbehave, its last is the folder.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
from safetensors.numpy import load_file, save_file

mode, folder = sys.argv[1], sys.argv[-1]
weights: dict[str, np.ndarray] = {}
velocity: dict[str, np.ndarray] = {}
recipe: dict[str, float] = {}


def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code = np.maximum(x @ weights["encoder.0.weight"].T + weights["encoder.0.bias"], 0)
    return code, 1 / (1 + np.exp(-(code @ weights["decoder.0.weight"].T + weights["decoder.0.bias"])))


def loss_and_gradients(x: np.ndarray, target: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    code, output = forward(x)
    upstream = 2 * (output - target) / output.size * output * (1 - output)
    below = (upstream @ weights["decoder.0.weight"]) * (code > 0)
    return float(np.mean((output - target) ** 2)), {
        "encoder.0.weight": below.T @ x,
        "encoder.0.bias": below.sum(0),
        "decoder.0.weight": upstream.T @ code,
        "decoder.0.bias": upstream.sum(0),
    }


def answer(method: str, arrays: dict[str, np.ndarray], number: float | None) -> tuple[float | None, dict]:
    if method == "load":
        weights.update(arrays)
        velocity.clear()
        return None, {}
    if method == "weights":
        return None, weights
    if method == "activations":
        return None, {"output": forward(arrays["inputs"])[1]}
    if method == "set_learning_rate":
        recipe["learning_rate"] = number
        return None, {}
    if method == "optimizer_state":
        return None, {f"momentum/{name}": value for name, value in velocity.items()}
    loss, gradients = loss_and_gradients(arrays["inputs"], arrays["targets"])
    if method == "loss_and_gradients":
        return loss, gradients
    for name, gradient in gradients.items():
        velocity[name] = np.float32(recipe["momentum"]) * velocity.get(name, np.float32(0)) + gradient
        weights[name] = weights[name] - np.float32(recipe["learning_rate"]) * velocity[name]
    return loss, {}


for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "prepare":
        recipe.update(request["recipe"])
        reply: dict[str, object] = {}
    else:
        if request["method"] == "step":
            if mode == "dies":
                os._exit(3)
            if mode == "hangs":
                subprocess.Popen(["sleep", "1000"])
                time.sleep(1000)
        sent = load_file(f"{folder}/request.safetensors") if request["arrays"] else {}
        number, found = answer(request["method"], sent, request["number"])
        save_file({name: np.array(value, order="C") for name, value in found.items()}, f"{folder}/reply.safetensors")
        reply = {"number": number}
        if mode == "truncates":
            os.truncate(f"{folder}/reply.safetensors", 5)
        if mode == "misnumbers":
            reply = {"number": "much"}
        if mode == "refuses":
            reply = {"error": "not today"}
    print("garbage" if mode == "garbage" else "[1]" if mode == "a list" else json.dumps(reply), flush=True)
