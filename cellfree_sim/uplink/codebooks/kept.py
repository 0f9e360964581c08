"""Codebooks from files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cellfree_sim.errors import CodebookError
from cellfree_sim.scenario.extensions import CODEBOOKS
from cellfree_sim.uplink.codebook import Codebook, CodebookOptions


@CODEBOOKS.register
class FromFile(CodebookOptions):
    """A codebook that was saved, for example a trained one."""

    name: Literal["file"] = "file"
    path: str = Field(min_length=1, description="what `Codebook.save` wrote, or an .npz with codewords [N, M, K]")

    @property
    def from_file(self) -> bool:
        """See `CodebookOptions.from_file`."""
        return True

    def design(
        self, users: int, resources: int, rates: tuple[int, ...], activity: tuple[float, ...] | None
    ) -> Codebook:
        """See `CodebookOptions.design`."""
        found = Codebook.load(self.path)
        if found.users != users or found.resources != resources:
            has = f"found {found.users} users on {found.resources} resources in the file"
            raise CodebookError(f"codebook: {has}; expected {users} users on {resources} resources")
        return found
