"""Recordings from everywhere become the same spectrograms, and bad ones are named."""

from __future__ import annotations

import wave as waves

import numpy as np
import polars as pl
import pytest
from transformers.audio_utils import mel_filter_bank, spectrogram

from thalweg.data import audio, audio_files
from thalweg.data.audio import loudest
from thalweg.data.dataset import Encoder
from thalweg.data.load import load
from thalweg.data.recordings import claims, load_audio
from thalweg.errors import DataError, OptionError, SourceError

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path_factory.mktemp("cache")))


def tone(hertz, rate=8000, seconds=0.3, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * t) + 0.01 * rng.normal(size=t.size)).astype(np.float32)


def save(path, wave, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **options)
    return path


def by_class(folder, count=12, endings=("wav",)):
    for name, hertz in (("high", 1500), ("low", 300)):
        for i in range(count):
            ending = endings[i % len(endings)]
            save(folder / name / f"{i:02}.{ending}", tone(hertz, seconds=0.2 + 0.01 * i, seed=i))
    return folder


# Spectrograms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "bands"), [(8000, 40), (16000, 64), (44100, 24)])
def test_mel_filters_are_those_of_transformers(rate, bands):
    bins = 1025
    ours = audio_files.mel_filters(bands, bins, rate)
    theirs = mel_filter_bank(bins, bands, 20.0, rate / 2, rate, norm=None, mel_scale="htk")
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("samples", [100, 4001])
def test_log_mel_is_that_of_transformers(samples):
    wave = np.random.default_rng(0).normal(size=samples) * 0.1
    theirs = spectrogram(
        wave,
        np.hanning(201)[:-1],
        frame_length=200,
        hop_length=80,
        fft_length=512,
        power=2.0,
        center=True,
        pad_mode="constant",
        mel_filters=mel_filter_bank(257, 40, 20.0, 4000.0, 8000, norm=None, mel_scale="htk"),
        mel_floor=audio_files.FLOOR,
        log_mel="log",
    )
    np.testing.assert_allclose(audio_files.log_mel(wave, 8000, 40), theirs.T, atol=1e-5)


def test_long_waveforms_are_transformed_in_pieces():
    wave = np.random.default_rng(0).normal(size=80 * 6100).astype(np.float32)
    whole = audio_files.log_mel(wave, 8000, 8)
    assert len(whole) == 6101
    np.testing.assert_allclose(
        whole[5990:6010],
        audio_files.log_mel(wave[80 * 5980 : 80 * 6020], 8000, 8)[10:30],
        atol=1e-6,
    )


def test_loudness_and_the_noise_far_below_do_not_count():
    wave = tone(700)
    quiet = audio.relative(audio_files.log_mel(0.3 * wave, 8000))
    np.testing.assert_allclose(quiet, audio.relative(audio_files.log_mel(wave, 8000)), atol=1e-3)
    assert quiet.min() == audio.SILENCE
    assert np.log(np.exp(quiet).mean(1).max()) == pytest.approx(0.0, abs=1e-3)
    nothing = audio.relative(audio_files.log_mel(np.zeros(4000), 8000))
    assert (nothing == audio.SILENCE).all()


def test_the_loudest_stretch_is_kept():
    spectrum = np.full((50, 4), -10.0, np.float16)
    spectrum[30:36] = 2.0
    kept = loudest(spectrum, 10)
    assert len(kept) == 10
    assert (kept == 2.0).all(1).sum() == 6


# Sources ------------------------------------------------------------------------------------------


def test_a_folder_by_class_of_many_formats(tmp_path):
    folder = by_class(tmp_path / "clips", endings=("wav", "flac", "ogg", "mp3"))
    assert claims(str(folder), {})
    data = load(str(folder))
    assert data.modality == "audio"
    assert data.task.kind == "binary"
    assert data.task.classes == ("high", "low")
    assert sum(map(len, data.parts.values())) == 24
    assert data.train.fields["sequence"].dtype == np.float16
    assert data.train.fields["sequence"].shape[1:] == (data.encoder.length, 40)
    assert "8,000 Hz" in data.headline()
    peak = [int(np.argmax(x[:10].mean(0))) for x in data.train.fields["sequence"]]
    labels = data.labels("train")
    high = [p for p, label in zip(peak, labels, strict=True) if label == "high"]
    low = [p for p, label in zip(peak, labels, strict=True) if label == "low"]
    assert min(high) > max(low)


def test_a_manifest_with_groups_and_a_split(tmp_path):
    folder = by_class(tmp_path / "clips", 20)
    files = sorted(str(p.relative_to(tmp_path)) for p in folder.rglob("*.wav"))
    table = pl.DataFrame(
        {
            "file": files,
            "pitch": [f.split("/")[1] for f in files],
            "speaker": [f"s{i % 5}" for i in range(40)],
            "split": ["test" if i % 5 == 4 else "train" for i in range(40)],
        }
    )
    table.write_csv(tmp_path / "clips.csv")
    data = load(str(tmp_path / "clips.csv"), "pitch", group="speaker")
    assert data.modality == "audio"
    assert len(data.test) == 8
    speakers = np.array(table["speaker"].to_list())
    seen = {name: set(speakers[part.rows]) for name, part in data.parts.items()}
    assert seen["test"] == {"s4"}
    assert not seen["train"] & seen["validation"]
    assert any("the column split says" in notice for notice in data.notices)
    # Without a target's name the only column left is it.
    again = load(
        table.drop("split").with_columns(file=str(tmp_path) + "/" + pl.col("file")), "pitch"
    )
    assert again.split.startswith("at random by class")
    with pytest.raises(DataError, match="group names"):
        load(str(tmp_path / "clips.csv"), "pitch", group="person", modality="audio")
    with pytest.raises(DataError, match="is none: give a table"):
        load(str(folder), modality="audio", group="speaker")


def test_waveforms_as_arrays(tmp_path):
    waves = [tone(300 if i % 2 else 1500, seed=i) for i in range(30)]
    whole = [(32767 * wave).astype(np.int16) for wave in waves]
    labels = ["low" if i % 2 else "high" for i in range(30)]
    data = load_audio((waves, labels), sample_rate=8000)
    same = load_audio((whole, labels), sample_rate=8000)
    loud = data.train.fields["sequence"] > -4
    np.testing.assert_allclose(
        data.train.fields["sequence"][loud], same.train.fields["sequence"][loud], atol=0.05
    )
    with pytest.raises(OptionError, match="need their rate"):
        load_audio((waves, labels))
    with pytest.raises(DataError, match="array of samples"):
        load_audio(([*waves, np.zeros((0,))], [*labels, "low"]), sample_rate=8000)
    with pytest.raises(DataError, match="as many labels"):
        load_audio((waves, labels[1:]), sample_rate=8000)


def test_encoding_again_and_after_a_round_trip(tmp_path):
    folder = by_class(tmp_path / "clips")
    data = load(str(folder))
    encoder = Encoder.from_dict(data.encoder.to_dict())
    part = encoder.encode(str(folder), with_target=True)
    assert part.keys["file"][0] == "high/00.wav"
    np.testing.assert_array_equal(
        part.fields["sequence"][data.train.rows], data.train.fields["sequence"]
    )
    np.testing.assert_array_equal(part.target[data.train.rows], data.train.target)
    one = encoder.encode(str(folder / "low" / "03.wav"))
    np.testing.assert_array_equal(one.fields["sequence"][0], part.fields["sequence"][15])


def test_what_was_decoded_is_cached(tmp_path, monkeypatch):
    folder = by_class(tmp_path / "clips", 40)
    first = load(str(folder))

    def never(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(audio_files, "decode", never)
    assert load(str(folder)).fingerprint == first.fingerprint
    (folder / "low" / "00.wav").touch()
    with pytest.raises(SourceError, match="cannot be read"):
        load(str(folder))


# What is odd --------------------------------------------------------------------------------------


def test_other_rates_and_channels_are_brought_together(tmp_path):
    folder = by_class(tmp_path / "clips")
    wave = tone(300, 44100)
    save(folder / "low" / "fast.wav", np.stack([wave, wave], 1), 44100)
    data = load(str(folder))
    assert data.encoder.rate == 8000
    assert any("1 recordings (8,000, 44,100 Hz) are resampled" in n for n in data.notices)
    assert any("1 recordings have several channels" in n for n in data.notices)
    rows = data.encoder.encode([str(folder / "low" / n) for n in ("fast.wav", "10.wav")])
    assert rows.fields["length"][0] == rows.fields["length"][1]
    middle = rows.fields["sequence"][:, 5:20].astype(float).mean(1)
    assert np.argmax(middle[0]) == np.argmax(middle[1])


def test_bad_files_are_counted_and_named(tmp_path):
    folder = by_class(tmp_path / "clips", 20)
    whole = (folder / "low" / "00.wav").read_bytes()
    (folder / "low" / "cut.wav").write_bytes(whole[:1000])
    (folder / "low" / "empty.wav").write_bytes(b"")
    (folder / "low" / "text.wav").write_bytes(b"this is no recording at all, but a text")
    flac = save(folder / "high" / "cut.flac", tone(500, seconds=2.0)).read_bytes()
    (folder / "high" / "cut.flac").write_bytes(flac[: len(flac) // 2])
    with waves.open(str(folder / "low" / "nothing.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
    save(folder / "low" / "nan.wav", np.full(800, np.nan, np.float32), subtype="FLOAT")
    save(folder / "low" / "silent.wav", np.zeros(1600, np.float32))
    data = load(str(folder))
    said = next(n for n in data.notices if "cannot be read" in n)
    assert said.startswith("6 of 47 recordings cannot be read and are left out")
    for name, reason in (
        ("low/cut.wav", "truncated"),
        ("low/empty.wav", "empty file"),
        ("low/text.wav", "no recording"),
        ("high/cut.flac", ""),
        ("low/nothing.wav", "has no samples"),
        ("low/nan.wav", "not finite"),
    ):
        assert name in said
        assert reason in said
    assert any("1 of 41 recordings are nothing but silence" in n for n in data.notices)
    assert len(data.skipped) == 6


@pytest.mark.parametrize(
    ("make", "options", "error", "said"),
    [
        (lambda p: p / "nowhere", {}, SourceError, "no such file or folder"),
        (lambda p: p / "*.wav", {}, SourceError, "no recording matches"),
        (lambda p: by_class(p / "a"), {"sample_rate": 10}, OptionError, "sample_rate must be"),
        (lambda p: by_class(p / "a"), {"mels": 2}, OptionError, "mels must be"),
        (lambda p: by_class(p / "a"), {"seconds": 0.0}, OptionError, "seconds must be"),
        (lambda p: by_class(p / "a"), {"target": "x"}, DataError, "leave target out"),
        (lambda p: by_class(p / "a") / "low", {}, DataError, "in no class folders"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, make, options, error, said):
    with pytest.raises(error, match=said) as caught:
        load(str(make(tmp_path)), modality="audio", **options)
    assert "\n" not in str(caught.value)


def test_a_length_that_is_asked_for(tmp_path):
    data = load(str(by_class(tmp_path / "clips")), seconds=0.2)
    assert data.encoder.length == 21
    assert any("cut to their loudest stretch" in notice for notice in data.notices)
