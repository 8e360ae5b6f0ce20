"""Adapters on disk: save, prove, load. Knows peft's layout and diffusers'; knows no run and no data.

    adapter/
      adapter_config.json                             peft's: full-match pattern, rank, alpha, id of the base
      adapter_model.safetensors                       peft's: float32 weights, whitelisted metadata
      diffusers/pytorch_lora_weights.safetensors      the same for diffusers' `load_lora_adapter`, scale folded into lora_B

A folder appears under its name only after every module in it was read back and compared with the model in memory. Files
hold no path, no caption and no name of footage: whoever gets an adapter learns nothing but what the whitelist says.
"""

import itertools
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lora_studio import files
from lora_studio.adapters.attach import adapter_parameters, bare_transformer, lora_config, matched_layers
from lora_studio.errors import AdapterError
from lora_studio.nova import weights
from lora_studio.nova.transformer import NOVATransformer3DModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DIFFUSERS = Path("diffusers") / "pytorch_lora_weights.safetensors"
_PREFIX, _DIFFUSERS_PREFIX = "base_model.model.", "transformer."

# Everything that may stand in a file's header. Values are short strings made by this package, or the trigger word.
METADATA_KEYS: Final = frozenset(
    {
        "format",
        "modelspec.sai_model_spec",
        "modelspec.architecture",
        "modelspec.implementation",
        "modelspec.title",
        "modelspec.trigger_phrase",
        "modelspec.resolution",
        "modelspec.hash_sha256",
        *(
            f"lora_studio.{key}"
            for key in (
                "version", "base_model", "base_sha256", "method", "preset", "rank", "alpha", "steps", "seed",
                "recipe_sha256", "dataset_sha256", "rights_sha256",
            )
        ),
    }
)  # fmt: skip


def save_adapter(model: PeftModel, folder: Path, metadata: Mapping[str, str]) -> str:
    """Writes an adapter folder in both layouts, atomically, after reading back and comparing every module.

    Args:
        metadata: keys of METADATA_KEYS only; the hash of the tensors is added here.

    Returns:
        SHA-256 of adapter_model.safetensors. Equal weights and metadata give an equal hash.

    Raises:
        AdapterError: a weight is not finite, a metadata key is not on the whitelist, or the files do not read back.
    """
    tensors = adapter_tensors(model)
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise AdapterError(f"{len(bad)} adapter weights are not finite (first: {bad[0]}): nothing was written")
    header = _checked_metadata({**metadata, "format": "pt", "modelspec.hash_sha256": tensors_sha256(tensors)})
    with files.atomic_folder(folder) as temporary:
        _write_peft(model, tensors, header, temporary)
        _write_diffusers(model, tensors, header, temporary / DIFFUSERS)
        prove_adapter(model, temporary)
    return adapter_sha256(folder)


def adapter_tensors(model: PeftModel) -> dict[str, Tensor]:
    """The adapter's weights under the names of peft's file, float32, on the CPU."""
    parameters = adapter_parameters(model).items()
    return {name.replace(".default.", "."): p.detach().to("cpu", torch.float32).contiguous() for name, p in parameters}


def _write_peft(model: PeftModel, tensors: dict[str, Tensor], header: dict[str, str], folder: Path) -> None:
    _write_safetensors(folder / WEIGHTS, tensors, header)
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": header.get("lora_studio.base_model"), "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    files.write_json(folder / CONFIG, plain)


def _write_diffusers(model: PeftModel, tensors: dict[str, Tensor], header: dict[str, str], path: Path) -> None:
    """The same adapter with alpha = rank: readers that ignore the metadata then still get the scale right."""
    config = _config_of(model)
    inner = {"r": config.r, "lora_alpha": config.r, "target_modules": config.target_modules, "bias": "none"}
    described = json.dumps({_DIFFUSERS_PREFIX + key: value for key, value in inner.items()}, sort_keys=True)
    path.parent.mkdir()
    _write_safetensors(path, _folded(tensors, config), {**header, "lora_adapter_metadata": described})


def _folded(tensors: dict[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    scale = config.lora_alpha / config.r
    scaled = {name: tensor * scale if ".lora_B." in name else tensor for name, tensor in tensors.items()}
    return {_DIFFUSERS_PREFIX + name.removeprefix(_PREFIX): tensor for name, tensor in scaled.items()}


def _write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes the same bytes for the same content: safetensors itself shuffles the metadata, so the header is put in here."""
    plain = save(tensors)
    length = int.from_bytes(plain[:8], "little")
    header = json.dumps({"__metadata__": metadata, **json.loads(plain[8 : 8 + length])}, sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + plain[8 + length :])


def prove_adapter(model: PeftModel, folder: Path) -> None:
    """Reads an adapter folder back and compares every module of both layouts with the model in memory.

    Raises:
        AdapterError: a module is missing, unexpected or differs, or the settings that scale it do.
    """
    tensors, config = adapter_tensors(model), _config_of(model)
    stored = _read_config(folder)
    for key in ("r", "lora_alpha", "target_modules"):
        if getattr(stored, key) != getattr(config, key):
            raise AdapterError(f"{folder}: {key} reads back as {getattr(stored, key)!r}, trained with {getattr(config, key)!r}")
    _require_same(tensors, _read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    _require_same(_folded(tensors, config), _read_tensors(folder / DIFFUSERS), folder / DIFFUSERS)


def _require_same(expected: dict[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    _require_keys(set(expected), set(found), path)
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    if different:
        raise AdapterError(f"{path}: {len(different)} modules do not read back as they were trained (first: {different[0]})")


def _require_keys(expected: set[str], found: set[str], path: Path) -> None:
    missing, unexpected = sorted(expected - found), sorted(found - expected)
    if missing or unexpected:
        first = f"missing {missing[0]}" if missing else f"unexpected {unexpected[0]}"
        counts = f"{len(missing)} missing and {len(unexpected)} unexpected keys"
        raise AdapterError(f"{path} does not fit this backbone: {counts} ({first})")


def load_adapter(transformer: nn.Module, folder: Path, weight: float = 1.0) -> PeftModel:
    """Puts a saved adapter on a transformer, in place, frozen.

    Args:
        folder: in the layout `save_adapter` writes.
        weight: 1 as trained, 0 none, in between weaker; multiplies the adapter's own scale.

    Raises:
        AdapterError: the folder is not an adapter, or any key is missing, unexpected or of another shape.
    """
    model = load_adapters(transformer, {"default": folder})
    set_weight_(model, weight)
    return model


def load_adapters(transformer: nn.Module, folders: Mapping[str, Path]) -> PeftModel:
    """Puts several saved adapters on a transformer, in place, frozen, by name; see `load_adapter` for what is raised."""
    read = {name: read_adapter(transformer, folder) for name, folder in folders.items()}
    transformer.requires_grad_(False)
    model: PeftModel | None = None
    for name, (config, tensors) in read.items():
        if model is None:
            model = PeftModel(transformer, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
        result = set_peft_model_state_dict(model, tensors, adapter_name=name)
        assert not result.unexpected_keys, result.unexpected_keys
    assert model is not None, "no adapter was named"
    model.requires_grad_(False)
    return model.eval()


def read_adapter(transformer: nn.Module, folder: Path) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Settings and weights of a saved adapter, checked against a bare transformer; see `load_adapter` for what is raised."""
    config, tensors = _read_config(folder), _read_tensors(folder / WEIGHTS)
    if not isinstance(config.target_modules, str):
        raise AdapterError(f"{folder / CONFIG}: target_modules must be a full-match pattern, got {config.target_modules!r}")
    shapes = {}
    for name in matched_layers(transformer, config.target_modules):
        layer = transformer.get_submodule(name)
        shapes[f"{_PREFIX}{name}.lora_A.weight"] = (config.r, layer.in_features)
        shapes[f"{_PREFIX}{name}.lora_B.weight"] = (layer.out_features, config.r)
    _require_keys(set(shapes), set(tensors), folder)
    wrong = [name for name, shape in shapes.items() if tensors[name].shape != shape]
    if wrong:
        raise AdapterError(f"{folder} is for a backbone of another width: {len(wrong)} weights differ in shape (first: {wrong[0]})")
    return config, tensors


def set_weight_(model: PeftModel, weight: float) -> None:
    """Sets how strongly the adapters act: 1 as trained, 0 not at all."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for name in set(module.lora_A) & set(model.peft_config):
                module.set_scale(name, weight)


def merge_adapter(model: PeftModel) -> nn.Module:
    """Adds the adapter into the base weights and takes its layers off; the result is a plain transformer."""
    merged = model.merge_and_unload()  # type: ignore[operator]
    assert merged is bare_transformer(model)
    return merged


def save_merged_(transformer: NOVATransformer3DModel, source: Path, folder: Path) -> None:
    """Writes a merged transformer as a whole model folder, readable for whom the umask lets read.

    The weights are written in float16 where the base's files are: the shipped nano stays as small as it is, and rounding costs
    0.4 % of what even a faint adapter does to its latents. Where they are anything else it is float32: rounded to bfloat16, a
    weight loses the small change that an adapter makes (9 % of the effect of the same one).

    Args:
        transformer: after `merge_adapter`; its weights are rounded in place.
        source: folder of the base model; its other parts go with it.
        folder: to be made.

    Raises:
        ModelError: the transformer still carries an adapter, the base is damaged, or a folder of that name exists.
        AdapterError: a merged weight is too large for float16.
    """
    if _stored_precisions(source) == {"F16"}:
        _round_to_half_(transformer)
    weights.save_checkpoint(transformer, source, folder)
    mode = (folder / "model_index.json").stat().st_mode  # a plain new file; safetensors makes its own for the owner alone
    for path in (folder / "transformer").iterdir():
        path.chmod(mode)


def _stored_precisions(source: Path) -> set[str]:
    """How safetensors calls them: F16, BF16, F32."""
    found: set[str] = set()
    for path in weights.weight_files(source, "transformer"):
        with safe_open(path, framework="pt") as shard:
            found |= {shard.get_slice(key).get_dtype() for key in shard.keys()}  # noqa: SIM118
    return found


def _round_to_half_(transformer: nn.Module) -> None:
    tensors = dict(itertools.chain(transformer.named_parameters(), transformer.named_buffers()))
    most = torch.finfo(torch.float16).max
    if large := [name for name, tensor in tensors.items() if tensor.abs().max() > most]:
        raise AdapterError(f"{len(large)} merged weights are too large for float16 (first: {large[0]}): lower the strength")
    for tensor in tensors.values():
        tensor.data = tensor.data.half()


def adapter_sha256(folder: Path) -> str:
    """SHA-256 of an adapter's peft file: the identity of an adapter everywhere.

    Raises:
        AdapterError: the folder holds no adapter.
    """
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"no adapter in {folder}: {WEIGHTS} is missing")
    return files.sha256_file(folder / WEIGHTS)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes and values alone: stays the same when only the header of a file changes."""
    digest = sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def adapter_metadata(folder: Path) -> dict[str, str]:
    """The header of an adapter's peft file.

    Raises:
        AdapterError: the folder holds no readable adapter.
    """
    adapter_sha256(folder)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as fault:
        raise AdapterError(f"{folder / WEIGHTS} is damaged: {fault}") from None


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(set(metadata) - METADATA_KEYS)
    if unknown:
        raise AdapterError(f"adapter metadata may hold whitelisted keys only, got {', '.join(unknown)}")
    bad = [key for key, text in metadata.items() if not isinstance(text, str) or text.startswith(("/", "~", ".")) or "\\" in text]
    if bad:
        raise AdapterError(f"adapter metadata must be strings that are no paths; these are not: {', '.join(sorted(bad))}")
    return dict(sorted(metadata.items()))


def _config_of(model: PeftModel) -> LoraConfig:
    config = model.peft_config["default"]
    assert isinstance(config, LoraConfig)
    return config


def _read_config(folder: Path) -> LoraConfig:
    path = folder / CONFIG
    if not path.is_file():
        raise AdapterError(f"no adapter in {folder}: {CONFIG} is missing")
    table = files.read_json(path)
    unknown = sorted({"r", "lora_alpha", "target_modules"} - set(table))
    if table.get("peft_type") != "LORA" or unknown:
        raise AdapterError(f"{path}: must describe a LoRA with r, lora_alpha and target_modules, got {table.get('peft_type')!r}")
    return lora_config(table["target_modules"], table["r"], table["lora_alpha"])


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise AdapterError(f"no adapter in {path.parent}: {path.name} is missing")
    try:
        return load_file(path)
    except SafetensorError as fault:
        raise AdapterError(f"{path} is damaged: {fault}") from None
