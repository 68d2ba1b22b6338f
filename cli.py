"""Runs loraqd from a checkout: ``python cli.py evolve --config configs/tiny.yaml``."""

from lora_qd.cli import main

main()
