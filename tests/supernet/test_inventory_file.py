"""An inventory comes back from its file as it was, and a damaged file says what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from supernet.inventory import take_inventory, unet_config
from supernet.inventory_file import InventoryFileError, inventory_text, load_inventory

CONFIG = {
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
    "transformer_layers_per_block": 2,
}


@pytest.mark.parametrize("granularity", ["block", "transformer_layer"])
def test_comes_back_as_it_was(tmp_path: Path, granularity: str) -> None:
    inventory = take_inventory(unet_config(CONFIG), granularity=granularity)
    path = tmp_path / "inventory.json"
    path.write_text(inventory_text(inventory))
    read = load_inventory(path)
    assert read == inventory
    assert read.full().id == inventory.full().id
    assert read.parameters(read.smallest()) == inventory.parameters(inventory.smallest())


def test_is_read_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "inventory.json"
    path.write_text(inventory_text(take_inventory(unet_config(CONFIG))))
    code = (
        "import sys; from pathlib import Path; from supernet.inventory_file import load_inventory; "
        f"load_inventory(Path({str(path)!r})); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr


def test_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "inventory.json"
    path.write_text("{")
    with pytest.raises(InventoryFileError, match=r"inventory\.json: is no inventory"):
        load_inventory(path)
    value = json.loads(inventory_text(take_inventory(unet_config(CONFIG))))
    path.write_text(json.dumps(value | {"version": 7}))
    with pytest.raises(InventoryFileError, match="version 7, this evounet reads 1"):
        load_inventory(path)
    del value["blocks"][0]["part"]["macs"]
    path.write_text(json.dumps(value))
    with pytest.raises(InventoryFileError, match=r"field 'blocks\.0\.part\.macs'"):
        load_inventory(path)
