"""Damaged files, thousands of them: a few seconds of it in the suite, as much as is wanted by command.

python -m tests.fuzz [photos|safetensors|onnx ...] [--examples 100000]
"""
