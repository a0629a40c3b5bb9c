"""``evounet export --format coreml``, and ``evounet export verify``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from rich.console import Console

from evaluators.evaluator import weights_digest
from evaluators.generation import latent_shape
from experiments.export.artefact import Artefact, size_on_disk
from experiments.export.coreml.attention import attention_layout
from experiments.export.coreml.choices import Choices
from experiments.export.coreml.conversion import bisect_package, convert_network
from experiments.export.coreml.manifest import Manifest, NetworkRecord, Reference
from experiments.export.coreml.networks import (
    UNET,
    Network,
    decoder_network,
    text_encoder_network,
    unet_network,
)
from experiments.export.coreml.swift_runtime import settings_notes, write_tokenizer
from experiments.export.coreml.verification import (
    Agreement,
    Predictor,
    answers_of,
    check_agreement,
    check_features,
    check_types,
    compare,
    interpreted,
)
from experiments.export.destination import write_out
from experiments.export.source import ExportSource
from experiments.peak_memory import peak_gib

# Of one model on a phone's Neural Engine: Apple has Stable Diffusion's UNet (0.65 GB at 6 bits)
# in one piece at 6 bits or less, and wants it cut in two at 8 (0.86 GB).
_LARGEST_BYTES = 700_000_000


def export_coreml(
    source: ExportSource, choices: Choices, out: Path, overwrite: bool, console: Console
) -> tuple[list[Artefact], tuple[str, ...]]:
    """Write UNet, image decoder and text encoder as Core ML packages, each verified.

    The folder has ``Unet.mlpackage`` (or ``UnetChunk1.mlpackage`` and ``UnetChunk2.mlpackage``),
    ``VAEDecoder.mlpackage`` and ``TextEncoder.mlpackage``, ``vocab.json`` and ``merges.txt`` where
    the tokenizer has them, ``reference.safetensors``, ``coreml.json`` and ``spec.json``.

    Returns:
        A line for each network, and lines on what Apple's Swift runtime needs to be told.

    Raises:
        ExportError: if ``out`` is there already, there is no space left for it, a network cannot
            be converted, or it differs too much from torch's; nothing is left then.
        InterpreterError: if a program has an operation that the interpreter does not know.
    """
    networks = networks_of(source, choices.batch)
    digest = weights_digest(source.unet.state_dict())
    provenance = {
        "com.evounet.version": metadata.version("evounet"),
        "com.evounet.experiment": source.name,
        "com.evounet.architecture": source.spec.architecture().id,
        "com.evounet.unet_weights": digest,
        "com.evounet.attention": choices.attention,
        "com.evounet.weights": choices.weights,
    }

    def write(draft: Path) -> None:
        draft.mkdir()
        reference = Reference()
        records = tuple(
            write_network(network, choices, draft, provenance, reference, console)
            for network in networks
        )
        reference.save(draft)
        notes = write_tokenizer(source.pipeline.tokenizer, draft)
        notes += settings_notes(source.pipeline)
        spec = source.spec.model_dump_json(indent=2) + "\n"
        (draft / "spec.json").write_text(spec, encoding="utf-8")
        Manifest(
            experiment=source.name,
            architecture=source.spec.architecture().id,
            unet_weights=digest,
            attention=choices.attention,
            weights=choices.weights,
            peak_gib=peak_gib(),
            networks=records,
            notes=tuple(notes),
        ).save(draft)

    write_out(out, overwrite, write)
    manifest = Manifest.load(out)
    return [_artefact(record, out, source) for record in manifest.networks], manifest.notes


def networks_of(source: ExportSource, batch: int) -> tuple[Network, ...]:
    """What is exported of a pipeline, the smallest first.

    Raises:
        ExportError: if its UNet is of a kind that is not exported.
    """
    pipeline = source.pipeline
    tokens = pipeline.tokenizer.model_max_length
    timesteps = pipeline.scheduler.config.num_train_timesteps
    unet = unet_network(source.unet, tokens, timesteps, batch)
    _, height, width = latent_shape(pipeline)
    return (
        text_encoder_network(pipeline.text_encoder, tokens),
        decoder_network(pipeline.vae, (height, width)),
        unet,
    )


def write_network(
    network: Network,
    choices: Choices,
    folder: Path,
    provenance: Mapping[str, str],
    reference: Reference,
    console: Console,
) -> NetworkRecord:
    """Convert a network, cut it if need be, and verify what was written.

    Args:
        network: to be written.
        choices: how.
        folder: where to.
        provenance: what the packages say of themselves.
        reference: is told what torch answers.
        console: told of every step.

    Raises:
        ExportError: if it cannot be converted, or does not do what torch does.
    """
    is_unet = network.name == UNET
    console.print(f"{network.name}: converting {network.parameters:,} parameters", highlight=False)
    start = time.monotonic()
    answers = network.answers()
    reference.add(network.name, network.inputs, answers)
    with attention_layout(network.module, choices.attention if is_unet else "original"):
        package = convert_network(network, folder, choices.weights, provenance)
    weight_bytes = check_features(package, network, answers).weight_bytes
    packages = [package]
    too_large = weight_bytes > _LARGEST_BYTES if choices.chunk is None else choices.chunk
    if is_unet and too_large:
        packages = bisect_package(package, network, provenance)
    programs = [check_types(each) for each in packages]
    seconds = time.monotonic() - start
    console.print(
        f"{network.name}: converted in {seconds:.0f} s, peak memory {peak_gib():.1f} GiB",
        highlight=False,
    )
    agreement = compare(answers, answers_of(packages, network.inputs, interpreted(console)))
    check_agreement(network.name, agreement)
    return NetworkRecord(
        name=network.name,
        packages=tuple(each.name for each in packages),
        parameters=network.parameters,
        weight_bytes=sum(each.weight_bytes for each in programs),
        operations=dict(sum((each.histogram for each in programs), Counter())),
        seconds=round(seconds, 1),
        psnr_db=agreement.psnr_db,
        max_abs_diff=agreement.max_abs_diff,
    )


def verify_coreml(folder: Path, predict: Predictor) -> dict[str, Agreement]:
    """Compare the packages of a folder with what torch answered when they were written.

    Args:
        folder: that :func:`export_coreml` wrote.
        predict: Core ML itself or the interpreter.

    Raises:
        ValueError: naming the file, if it is no such folder or is damaged, or a network differs
            by more than :data:`MIN_PSNR_DB` allows.
    """
    manifest, reference = Manifest.load(folder), Reference.load(folder)
    agreements = {}
    for record in manifest.networks:
        packages = [folder / name for name in record.packages]
        answers = answers_of(packages, reference.inputs(record.name), predict)
        agreements[record.name] = compare(reference.outputs(record.name), answers)
        check_agreement(str(folder / record.name), agreements[record.name])
    return agreements


def _artefact(record: NetworkRecord, out: Path, source: ExportSource) -> Artefact:
    is_unet = record.name == UNET
    agreement = Agreement(record.psnr_db, record.max_abs_diff)
    return Artefact(
        record.name,
        out / record.packages[0] if len(record.packages) == 1 else out,
        sum(size_on_disk(out / name) for name in record.packages),
        record.parameters,
        f"interpreted against torch: {agreement}",
        source.latency_ms if is_unet else {},
    )
