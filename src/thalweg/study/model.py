"""The trained model that a study hands over: predict, evaluate, save, load.

A model is one network or the average of several (the winner under several seeds), together with the
encoder that turns raw rows into its inputs. On disk it is ``model.json`` and
``weights.safetensors``; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from thalweg import markup
from thalweg.errors import RunError
from thalweg.files import write_atomically
from thalweg.space import Config, Structure
from thalweg.study.calibration import Calibration, tempered
from thalweg.task import VISION_KINDS, WRITTEN_KINDS

if TYPE_CHECKING:
    import polars as pl

    from thalweg.data import Encoder, Part
    from thalweg.models import Network

FORMAT = 1
NUM_TERMS = 3
"""Terms of a reconstruction's likelihood before the code in a row of outputs."""

ROWS_AT_ONCE = 256
"""Rows whose masks, boxes or texts are predicted at a time."""


@dataclass(repr=False)
class Model:
    """A trained model.

    Args:
        encoder: turns raw rows into the network's fields, and outputs into the user's terms.
        structure: structure of the networks.
        inputs: ``{"numeric": …, "cardinalities": […]}``, what the networks read.
        members: parameters and state of each network; predictions are averaged.
        config: the configuration they were trained with.
        structures: of each network, where they differ; else ``structure`` is that of all.
        losses: name of each network's loss, where they differ.
        shares: weight of each network in the mean, summing to 1; all alike where empty.
        reference: what rows are usually like, by field [M, …]: columns of training rows, each
            shuffled on its own, so that no row is kept. Explanations compare with it.
        calibration: temperature or intervals, fitted on rows that no network was trained on.
        calibrated: whether probabilities are those with the temperature.
        threshold: binary tasks only: the probability of the second class from which it is
            predicted, 0.5 where None.
        beam: transcription only: beginnings of a text that are followed at a time; with 1 each
            frame decides for itself.
        about: metric, scores, versions and whatever else is worth keeping, JSON-able.
    """

    encoder: Encoder
    structure: Structure
    inputs: Mapping[str, Any]
    members: Sequence[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]
    config: Config
    threshold: float | None = None
    beam: int = 8
    about: dict[str, Any] = field(default_factory=dict)
    reference: Mapping[str, np.ndarray] = field(default_factory=dict)
    calibration: Calibration | None = None
    calibrated: bool = False
    structures: tuple[Structure, ...] = ()
    losses: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()

    @property
    def task(self) -> Any:
        """What the model predicts."""
        return self.encoder.task

    def __repr__(self) -> str:
        return f"<Model{self._of()}: {self._facts()}>"

    def _of(self) -> str:
        return f" of {self.about['name']}" if self.about.get("name") else ""

    def _facts(self) -> str:
        num = len(self.members)
        networks = "1 network" if num == 1 else f"{num} networks"
        targets = ", ".join(map(str, self.task.targets))
        return f"{self.task.kind} of {targets}, {networks} ({self.structure.name})"

    def _repr_html_(self) -> str:
        scores = {part: self.about.get(part) or {} for part in ("validation", "test")}
        names = list(dict.fromkeys(name for part in scores.values() for name in part))
        rows = [(name, *(scores[part].get(name) for part in scores)) for name in names]
        settings = ", ".join(f"{name}={value}" for name, value in self.config.items())
        return markup.card(
            f"Model{self._of()}",
            markup.table(("metric", *scores), rows) if rows else "",
            markup.lines([settings]),
            note=self._facts(),
        )

    # -------------------------------------------------------------------------------- prediction

    def networks(self) -> Iterator[tuple[Network, str, float, dict[str, Any], dict[str, Any]]]:
        """Yield each network with its loss, its share in the mean, its parameters and its state."""
        from thalweg.models import InputShape, build

        loss = self.config.get_or_default("loss") or self.task.loss
        num, inputs = len(self.members), InputShape.from_dict(self.inputs)
        for i, (params, state) in enumerate(self.members):
            yield (
                build(
                    self.structures[i] if self.structures else self.structure,
                    inputs,
                    self.task.num_outputs,
                ),
                self.losses[i] if self.losses else loss,
                self.shares[i] if self.shares else 1.0 / num,
                params,
                state,
            )

    def outputs(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return predictions for encoded rows, averaged over the members.

        Args:
            fields: arrays by field, [N, …].

        Returns:
            Regression: values in the user's units, [N, T]. Classification: probabilities, [N, C]
            (two columns for a binary task). Segmentation: the class of each pixel, uint8
            [N, H, W]. Embedding: vectors of length 1, those of the members side by side, so that
            similarities are averaged, [N, E]. Detection: x0, y0, x1, y1, class and score in the
            network's pixels, the best first, [N, K, 6]. Language: the probability of each token,
            1 behind the end, [N, T]. Transcription: the characters of each text as outputs, int32
            [N, L], 0 after its end. Reconstruction: ``−log p(x | z)``, divergence, squared error
            and the first member's code, [N, 3 + Z]. Translation: the texts that beam search finds,
            object [N].
        """
        from thalweg.optim.losses import predict_outputs
        from thalweg.training.outputs import network_outputs

        if self.task.kind in VISION_KINDS:
            return self._vision_outputs(fields)
        if self.task.kind == "transcription":
            return self._texts(fields)
        if self.task.kind == "reconstruction":
            return self._made_again(fields)[:, : NUM_TERMS + self._latent]
        if self.task.kind in WRITTEN_KINDS:
            return self._written(fields)
        total = 0.0
        for network, loss, share, params, state in self.networks():
            raw = network_outputs(network, params, state, fields)
            value = np.asarray(predict_outputs(self.task.kind, raw.astype(np.float64), loss))
            if self.task.kind == "regression" and loss != "poisson":
                value = self.encoder.target.inverse(value)
            total = total + share * value
        mean = np.asarray(total)
        if self.task.kind == "binary":
            mean = np.stack([1.0 - mean, mean], axis=-1)
        if self.calibrated and self.calibration and self.calibration.temperature is not None:
            mean = tempered(mean, self.calibration.temperature)
        return mean

    def calibrate(self) -> Self:
        """Return the model with calibrated probabilities; which class is predicted stays.

        A threshold chosen before moves along.

        Raises:
            OptionError: nothing was fitted: the task has no probabilities, or no rows were held
                out.
        """
        from thalweg.errors import OptionError

        if self.calibration is None or self.calibration.temperature is None:
            raise OptionError(
                f"this {self.task.kind} model has no temperature to calibrate by: fit classes, "
                "with validation rows"
            )
        if self.calibrated:
            return self
        cut = self.threshold
        if cut is not None:
            pair = np.array([[1.0 - cut, cut]])
            cut = float(tempered(pair, self.calibration.temperature)[0, 1])
        return replace(self, calibrated=True, threshold=cut)

    def _vision_outputs(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        from thalweg.models import InputShape, build
        from thalweg.optim.dense_metrics import finished
        from thalweg.optim.losses import predict_outputs
        from thalweg.training.outputs import network_outputs

        network = build(self.structure, InputShape.from_dict(self.inputs), self.task.num_outputs)
        done = []
        # Some images at a time: what is kept of them is much less than what is put out.
        for start in range(0, max(len(fields["image"]), 1), ROWS_AT_ONCE):
            some = {name: values[start : start + ROWS_AT_ONCE] for name, values in fields.items()}
            values = [
                predict_outputs(
                    self.task.kind, np.asarray(network_outputs(network, params, state, some))
                )
                for params, state in self.members
            ]
            done.append(finished(self.task.kind, values, some["image"].shape[1:3]))
        return np.concatenate(done)

    def _texts(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        from thalweg.optim import ctc
        from thalweg.training.outputs import network_outputs

        done = []
        for start in range(0, max(len(fields["sequence"]), 1), ROWS_AT_ONCE):
            some = {name: values[start : start + ROWS_AT_ONCE] for name, values in fields.items()}
            heard = [
                ctc.log_softmax(network_outputs(network, params, state, some))
                for network, _, _, params, state in self.networks()
            ]
            done.append(ctc.agreed(heard, self.beam))
        longest = max(text.shape[1] for text in done)
        return np.concatenate([np.pad(t, ((0, 0), (0, longest - t.shape[1]))) for t in done])

    @property
    def _latent(self) -> int:
        return int(self._first.get("embedding_size"))

    @property
    def _first(self) -> Structure:
        """The structure of the first network, whose code is the model's."""
        return self.structures[0] if self.structures else self.structure

    def _made_again(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return terms, code and what is decoded, [N, 3 + Z + D]; the code is the first member's.

        Codes of several networks mean different things; all else is averaged.
        """
        from thalweg.training.outputs import network_outputs

        total: Any = 0.0
        code = None
        for network, _, share, params, state in self.networks():
            made = np.asarray(network_outputs(network, params, state, fields))
            latent = int(getattr(network, "latent", self._latent))
            terms = made[:, :NUM_TERMS]
            code = made[:, NUM_TERMS : NUM_TERMS + latent] if code is None else code
            decoded = made[:, NUM_TERMS + latent :]
            total = total + share * np.concatenate([terms, decoded], axis=1)
        assert code is not None
        return np.concatenate([total[:, :NUM_TERMS], code, total[:, NUM_TERMS:]], axis=1)

    def reconstruct(self, rows: Any) -> Any:
        """Return rows as they are made again from their codes.

        Args:
            rows: raw rows as for ``predict``.

        Returns:
            Images uint8 [N, H, W, C], or a table in the user's units.

        Raises:
            DataError: the model predicts something instead.
        """
        self._require_reconstruction()
        return self.reconstruct_fields(self.encoder.encode(rows).fields)

    def reconstruct_fields(self, fields: Mapping[str, np.ndarray]) -> Any:
        """Return encoded rows as they are made again; see ``reconstruct``."""
        made = self._made_again(fields)
        return self.encoder.decoded(made[:, NUM_TERMS + self._latent :])

    def draw(self, num: int, seed: int = 0) -> Any:
        """Return rows that a variational autoencoder makes of codes drawn from its prior N(0, 1).

        Args:
            num: how many.
            seed: decides which.

        Returns:
            Images uint8 [num, H, W, C], or a table in the user's units.

        Raises:
            DataError: the model is no variational autoencoder: the codes of a plain one have no
                distribution to draw from.
        """
        self._require_reconstruction()
        if self._first.model != "vae":
            from thalweg.errors import DataError

            raise DataError(
                "a plain autoencoder has no distribution to draw codes from: train the family vae"
            )
        code = np.random.default_rng(seed).normal(size=(num, self._latent))
        return self.decode(code)

    def decode(self, code: np.ndarray) -> Any:
        """Return what the first member makes of codes [N, Z]: images, or a table."""
        from thalweg.models.autoencoder import build as build_autoencoder
        from thalweg.models.base import InputShape
        from thalweg.training.programs import compile_program, shapes_of

        self._require_reconstruction()
        network = build_autoencoder(self._first, InputShape.from_dict(self.inputs), 1)
        arguments = (*self.members[0], np.asarray(code, np.float32))
        made = compile_program(network.decode, shapes_of(arguments)).call(*arguments)
        return self.encoder.decoded(np.asarray(made))

    def _require_reconstruction(self) -> None:
        from thalweg.errors import DataError

        if self.task.kind != "reconstruction":
            raise DataError(
                f"this model's task is {self.task.kind}: rows are made again and drawn by a model "
                "trained with task='reconstruction'"
            )

    def _written(self, fields: Mapping[str, np.ndarray]) -> np.ndarray:
        from thalweg.training.writing import write

        encoder: Any = self.encoder
        source = np.asarray(fields["source"])
        members = [params for params, _ in self.members]
        network: Any = next(self.networks())[0]
        tokens = write(
            network, members, source, encoder.limits(source), num_beams=encoder.num_beams
        )
        return encoder.text_of(tokens)

    def forced_scores(
        self, fields: Mapping[str, np.ndarray], target: np.ndarray
    ) -> dict[str, float]:
        """Return the scores of a translator that is given the true tokens before each; else {}.

        Args:
            fields: arrays by field, [N, …], those of the target included.
            target: true tokens, int32 [N, T].
        """
        from thalweg.training.writing import forced_scores

        if self.task.kind not in WRITTEN_KINDS:
            return {}
        members = [params for params, _ in self.members]
        network: Any = next(self.networks())[0]
        return forced_scores(network, members, fields, target)

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Return the probability of each class, [N, C], in the order of ``task.classes``.

        Raises:
            DataError: where the task is regression, or the rows lack a column.
        """
        from thalweg.errors import DataError

        if self.task.kind not in ("binary", "multiclass", "multilabel"):
            raise DataError(f"a {self.task.kind} model has no class probabilities: use predict")
        return self.outputs(self.encoder.encode(rows).fields)

    def predict(self, rows: Any, threshold: float | None = None) -> np.ndarray:
        """Return predictions for raw rows, in their order.

        Args:
            rows: a path, a frame, or arrays with the columns of the training data.
            threshold: binary tasks only: the probability of the second class from which it is
                predicted; the model's own by default.

        Returns:
            Class labels [N], or values in the user's units [N] ([N, T] for several targets); for
            tasks on images masks in their own values [N, H, W], vectors [N, E] or detections
            [N, K, 6] as ``outputs`` returns them.
        """
        cut = self.threshold if threshold is None else threshold
        return self.encoder.decide(self.outputs(self.encoder.encode(rows).fields), cut)

    def predict_frame(
        self, rows: Any, threshold: float | None = None, interval: float | None = None
    ) -> pl.DataFrame:
        """Return predictions as a table: ``prediction`` and, for classes, their probabilities.

        Args:
            rows: a path, a frame, or arrays with the columns of the training data.
            threshold: binary tasks only; see ``predict``.
            interval: regression and forecasts: adds ``lower`` and ``upper``, between which so large
                a share of the truth lies, such as 0.9.

        Raises:
            OptionError: the model has no intervals, or none of that level.
        """
        return self.frame_of(self.encoder.encode(rows), threshold, interval)

    def frame_of(
        self, part: Part, threshold: float | None = None, interval: float | None = None
    ) -> pl.DataFrame:
        """Return the predictions of encoded rows as a table; see ``predict_frame``."""
        cut = self.threshold if threshold is None else threshold
        radius = None if interval is None else self._radius(interval)
        outputs = self.outputs(part.fields)
        frame = self.encoder.predictions(outputs, part, cut)
        if radius is None:
            return frame
        # In the shape, units and limits of the predictions, whatever the kind of data.
        for name, ends in (("lower", outputs - radius), ("upper", outputs + radius)):
            others = self.encoder.predictions(ends, part)
            made = [c for c in frame.columns if c == "prediction" or c.startswith("prediction_")]
            frame = frame.with_columns(
                others[column].alias(column.replace("prediction", name, 1)) for column in made
            )
        return frame

    def _radius(self, level: float) -> np.ndarray:
        from thalweg.errors import OptionError

        if self.calibration is None:
            raise OptionError(
                "the model has no intervals: it was trained without validation rows, or by an "
                "earlier version"
            )
        return self.calibration.radius_of(level)

    def sample(self, prompt: str = "", **options: Any) -> list[str]:
        """Continue a text, where the model is a language model; see ``study.sampling.sample``.

        Args:
            prompt: how the texts begin.
            **options: ``num``, ``length``, ``temperature``, ``top_k``, ``top_p``, ``seed``.
        """
        from thalweg.study.sampling import sample

        return sample(self, prompt, **options)

    def evaluate(self, rows: Any) -> dict[str, float]:
        """Return every metric of the task on raw rows that hold the target."""
        part = self.encoder.encode(rows, with_target=True)
        if self.task.kind in WRITTEN_KINDS:
            return self._text_scores(part.fields, part.target, part.texts["target"])
        return self.score(part.fields, part.target)

    def _text_scores(
        self, fields: Mapping[str, np.ndarray], target: np.ndarray, wanted: np.ndarray
    ) -> dict[str, float]:
        from thalweg.optim.metrics import score

        written = score(self.task, self.outputs(fields), wanted)
        return {**self.forced_scores(fields, target), **written}

    def score(self, fields: Mapping[str, np.ndarray], target: np.ndarray) -> dict[str, float]:
        """Return every metric of the task on encoded rows; regression targets are scaled ones."""
        from thalweg.optim.metrics import score

        if self.task.kind in WRITTEN_KINDS:
            encoder: Any = self.encoder
            return self._text_scores(fields, target, encoder.text_of(target))
        if self.task.kind == "regression":
            target = self.encoder.target.inverse(np.asarray(target, np.float64))
        return score(
            self.task,
            self.outputs(fields),
            target,
            scale=self.encoder.metric_scale,
            threshold=self.threshold,
        )

    # --------------------------------------------------------------------------------- files

    def save(self, path: str | Path) -> Path:
        """Write the model into a folder (made where it is missing), and return the folder."""
        from safetensors.numpy import save as tensors

        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {}
        for i, (params, state) in enumerate(self.members):
            weights |= {f"{i}/params/{n}": np.ascontiguousarray(v) for n, v in params.items()}
            weights |= {f"{i}/state/{n}": np.ascontiguousarray(v) for n, v in state.items()}
        weights |= {f"reference/{n}": np.ascontiguousarray(v) for n, v in self.reference.items()}
        stored = tensors(weights)
        record = {
            "format": FORMAT,
            "weights_sha256": hashlib.sha256(stored).hexdigest(),
            "structure": _structure_record(self.structure),
            "structures": list(map(_structure_record, self.structures)),
            "losses": list(self.losses),
            "shares": list(self.shares),
            "inputs": dict(self.inputs),
            "num_members": len(self.members),
            "config": self.config.to_dict(),
            "threshold": self.threshold,
            "encoder": self.encoder.to_dict(),
            "about": self.about,
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "calibrated": self.calibrated,
        }
        write_atomically(folder / "weights.safetensors", stored)
        write_atomically(folder / "model.json", json.dumps(record, indent=1, default=str))
        return folder

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that ``save`` wrote, or the model of a run directory.

        Raises:
            RunError: where there is none, or it was written by a later version.
        """
        folder = Path(path)
        if not (folder / "model.json").exists() and (folder / "model" / "model.json").exists():
            folder = folder / "model"
        try:
            record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            weights = (folder / "weights.safetensors").read_bytes()
        except FileNotFoundError as error:
            raise RunError(
                f"{path} holds no trained model ({Path(error.filename).name} is missing): give the "
                "folder that fit wrote"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"the model in {folder} cannot be read: {error}") from None
        made = record.get("format", FORMAT) if isinstance(record, dict) else FORMAT
        if isinstance(made, int) and made > FORMAT:
            raise RunError(
                f"the model in {folder} was written by a later version of Thalweg (format "
                f"{made}, known up to {FORMAT}): upgrade thalweg"
            )
        known = record.get("weights_sha256") if isinstance(record, dict) else None
        if known is not None and hashlib.sha256(weights).hexdigest() != known:
            raise RunError(
                f"the weights in {folder / 'weights.safetensors'} are not those that were saved "
                "with the model: the file is damaged, or another model's"
            )
        return cls._from_record(record, weights, folder)

    @classmethod
    def _from_record(cls, record: Any, weights: bytes, folder: Path) -> Self:
        from safetensors import SafetensorError
        from safetensors.numpy import load as tensors_of

        from thalweg.data import Encoder

        try:
            tensors = tensors_of(weights)
            members = []
            for i in range(record["num_members"]):
                parts = []
                for part in ("params", "state"):
                    prefix = f"{i}/{part}/"
                    parts.append(
                        {n[len(prefix) :]: v for n, v in tensors.items() if n.startswith(prefix)}
                    )
                members.append((parts[0], parts[1]))
            return cls(
                encoder=Encoder.from_dict(record["encoder"]),
                structure=_structure_of(record["structure"]),
                structures=tuple(map(_structure_of, record.get("structures", ()))),
                losses=tuple(record.get("losses", ())),
                shares=tuple(record.get("shares", ())),
                inputs=record["inputs"],
                members=members,
                config=Config(record["config"]),
                threshold=record.get("threshold"),
                about=record["about"],
                calibration=Calibration.from_dict(record["calibration"])
                if record.get("calibration")
                else None,
                calibrated=bool(record.get("calibrated")),
                reference={
                    n.removeprefix("reference/"): v
                    for n, v in tensors.items()
                    if n.startswith("reference/")
                },
            )
        except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"the model in {folder} cannot be read, a part of it is damaged "
                f"({type(error).__name__}: {' '.join(str(error).split())}): train it again"
            ) from None


def _structure_record(structure: Structure) -> dict[str, Any]:
    width = structure.width
    return {**asdict(structure), "width": list(width) if isinstance(width, tuple) else width}


def _structure_of(record: Mapping[str, Any]) -> Structure:
    width = record["width"]
    options = tuple((name, value) for name, value in record.get("options", ()))
    return Structure(
        **{
            **record,
            "width": tuple(width) if isinstance(width, list) else width,
            "options": options,
        }
    )
