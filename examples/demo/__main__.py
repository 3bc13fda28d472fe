"""The story: prepare, start, send, wait, show the timeline, look into the PACS. Exit status 0 only if all is well."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pydicom
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

from examples.sample_data import ct_datasets

from .delivery import Delivery, inspect
from .processes import CALLED, CALLING, CLARA, Adapter, DemoError, running_adapter, running_pacs

FOLDER = Path("demo-output")
SLICES = 34
_DONE_WITHIN = 300.0  # seconds
_STEPS = {"association": "released", "batch": "processed", "job": "succeeded", "export": "succeeded"}
_DEAD = {"aborted", "interrupted", "held", "dropped", "failed", "canceled"}

console = Console(highlight=False)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through the `with` blocks, which end what was started
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    try:
        sent = prepare(FOLDER / "sent")
        with ExitStack() as running:
            with console.status("Starting the PACS and the adapter"):
                pacs_port = running.enter_context(running_pacs(FOLDER / "pacs"))
                adapter = running.enter_context(running_adapter(FOLDER.resolve(), pacs_port))
            said(f"the PACS listens on port {pacs_port}, the adapter on {adapter.port} ({CALLED})")
            try:
                return trip(adapter, sent)
            except DemoError:
                show_jobs(adapter)
                raise
    except DemoError as error:
        show_log(FOLDER / "adapter.log")
        console.print(f"[bold red]The demo failed:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


def prepare(folder: Path) -> list[Path]:
    """Write the CT series that is sent."""
    folder.mkdir()
    paths = []
    for dataset in track(ct_datasets(slices=SLICES), "Preparing a head CT", SLICES, console=console, transient=True):
        paths.append(folder / f"CT{dataset.InstanceNumber:04}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    said(f"a head CT of {len(paths)} slices, {sum(path.stat().st_size for path in paths) / 1e6:.0f} MB, in {folder}")
    return paths


def trip(adapter: Adapter, sent: list[Path]) -> int:
    """Send the study and follow it to the PACS. Raises DemoError when it does not get there."""
    peer = f"{CALLED}@127.0.0.1:{adapter.port}"
    command("send", "--calling", CALLING, peer, str(sent[0].parent))
    study = str(pydicom.dcmread(sent[0], stop_before_pixels=True).StudyInstanceUID)
    follow(adapter, study)
    command("study", study, "--file", str(adapter.configuration))
    delivery = inspect(FOLDER / "pacs", sent)
    if delivery.faults:
        raise DemoError("; ".join(delivery.faults))
    report(delivery)
    return 0


def command(*arguments: str) -> None:
    """Show a `clara dicom` command and run it. Raises DemoError when it fails."""
    shown = " ".join(os.path.relpath(word) if word.startswith("/") else word for word in arguments)
    console.print(f"\n[bold]$ clara dicom {shown}[/]", soft_wrap=True)
    if subprocess.run([str(CLARA), "dicom", *arguments], check=False).returncode:
        raise DemoError(f"clara dicom {arguments[0]} failed; what it said stands above")


def follow(adapter: Adapter, study: str) -> None:
    """Wait until the study's export is done, behind a progress bar. Raises DemoError when it cannot be."""
    deadline = time.monotonic() + _DONE_WITHIN
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("waiting", total=len(_STEPS))
        while True:
            adapter.check_alive()
            states = latest_states(adapter.get(f"/api/v1/studies/{study}"))
            done = [step for step, end in _STEPS.items() if states.get(step) == end]
            if len(done) == len(_STEPS):
                return
            waiting_for = next(step for step in _STEPS if step not in done)
            progress.update(bar, completed=len(done), description=f"waiting for the {waiting_for}")
            if states.get(waiting_for) in _DEAD:
                raise DemoError(f"the {waiting_for} of the study is {states[waiting_for]}")
            if time.monotonic() > deadline:
                raise DemoError(f"the study is still waiting for its {waiting_for} after {_DONE_WITHIN:.0f} seconds")
            time.sleep(0.1)


def latest_states(study: dict[str, Any] | None) -> dict[str, str]:
    """The state of the newest association, batch, job and export of a study's timeline."""
    return {entry["kind"]: entry["state"] for entry in study["timeline"]} if study else {}


def report(delivery: Delivery) -> None:
    """What the PACS has, and the picture as a file that any viewer opens."""
    assert delivery.segmentation is not None
    assert delivery.picture is not None
    picture = FOLDER / "bone.png"
    Image.fromarray(delivery.picture.pixel_array).save(picture)
    console.print()
    said(f"the PACS got a Segmentation of {delivery.segmentation.NumberOfFrames} frames and a picture, in the study")
    said(f"the picture for any viewer: {picture}")
    console.print("[bold green]The demo succeeded.[/]")


def show_jobs(adapter: Adapter) -> None:
    """After a failure: what the jobs wrote."""
    for job in (adapter.get("/api/v1/jobs") or {}).get("items", []):
        subprocess.run(adapter.clara("job", "logs", job["id"]), check=False)


def show_log(log: Path) -> None:
    """After a failure: the end of the adapter's log."""
    if log.exists():
        console.print(f"\n[bold]The end of {log}:[/]", soft_wrap=True)
        lines = log.read_text(errors="replace").splitlines()
        console.print("\n".join(lines[-30:]), markup=False, soft_wrap=True)


def said(line: str) -> None:
    console.print(f"[green]ok[/]  {line}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
