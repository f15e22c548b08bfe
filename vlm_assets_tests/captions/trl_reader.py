"""Reads a dataset folder as a training run does; runs in an environment of its own, with torch and TRL.

`python trl_reader.py FOLDER [SPLIT]` prints one JSON line for each row: for every turn its role and its parts in
order, a text as itself, an image as its size in pixels, read from the tensor that a worker of the `DataLoader` made.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from datasets import load_from_disk
from torch.utils.data import DataLoader
from trl.data_utils import prepare_multimodal_messages

WORKERS = 2


def prepared(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What TRL makes of each row; in a worker process, images as tensors."""
    return [
        [
            {"role": message["role"], "parts": [part_of(part) for part in message["content"]]}
            for message in prepare_multimodal_messages(row["messages"], images=row["images"])
        ]
        for row in rows
    ]


def part_of(part: dict[str, Any]) -> Any:
    if part["type"] == "image":
        return torch.from_numpy(np.array(part["image"].convert("RGB")))
    return part["text"]


def main(folder: str, *split: str) -> None:
    dataset = load_from_disk(folder)
    rows = dataset[split[0]] if split else dataset
    for batch in DataLoader(rows, batch_size=3, num_workers=WORKERS, collate_fn=prepared):
        for turns in batch:
            for turn in turns:
                turn["parts"] = [
                    [part.shape[1], part.shape[0]] if isinstance(part, torch.Tensor) else part
                    for part in turn["parts"]
                ]
            print(json.dumps(turns))


if __name__ == "__main__":
    main(*sys.argv[1:])
