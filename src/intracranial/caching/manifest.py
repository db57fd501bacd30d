"""`preprocess.json`, which says what the caches and tables of a data folder were made from."""

from dataclasses import dataclass

from intracranial.artifacts import DataPaths
from intracranial.imaging.pixels import Pixels
from intracranial.provenance import read_manifest
from intracranial.sidecar import Made, part, read_made
from intracranial.tasks import Task


@dataclass(frozen=True, kw_only=True)
class PreprocessManifest(Made):
    """What later scripts need of it.

    Attributes:
        task: of the data folder.
        key: names the secret key of the groups' hashes, see `caching.secret.key_identity`.
    """

    task: Task
    key: str

    @property
    def pixels(self) -> Pixels:
        """How the series were read and cached.

        Raises:
            InputError: the recorded options are damaged.
        """
        return part(self.path, {"config": self.config}, "config", Pixels)


def open_preprocess(data: DataPaths) -> PreprocessManifest:
    """Read it.

    Raises:
        MissingArtifact: preprocess_data.py has not run.
        InputError: it has not finished, or the file is damaged.
    """
    path = data.preprocess_manifest
    return read_made(path, read_manifest(path, "preprocess"), PreprocessManifest)
