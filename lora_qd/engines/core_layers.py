"""Members of one core space inside a base model: another one in every row of a batch.

A row's module computes ``x W^T + ((x V) C^T) U^T`` with the core C of its own member.
U and V are the run's, the same for all rows, so that only the small product in the
middle is one per row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lora_qd.errors import EngineError
from lora_qd.factors import CoreSpace
from lora_qd.factors.cores import svds
from lora_qd.records import Cores

Placed = Mapping[str, torch.Tensor]
"""A member's cores by module, as the layers use them."""


class CoreLayers:
    """Adds the members' updates to the linear layers of a model."""

    def __init__(self, model: Any, space: CoreSpace, rank: int) -> None:  # noqa: ANN401
        """Hook into ``model``, which stays as it is for rows without a member.

        Args:
            model: a transformers model.
            space: in which the members lie.
            rank: that every member is truncated to.

        Raises:
            EngineError: the model lacks a module of the space, or it has another shape.
        """
        self._rank = rank
        self._layers = {
            name: _Layer(name, _module(model, name), basis.U, basis.V)
            for name, basis in space.bases.items()
        }

    def place(self, cores: Cores) -> Placed:
        """Return a member, truncated to the rank, where the model runs.

        Raises:
            EngineError: a core is not finite, or not one of the space.
        """
        for module, core in cores.items():
            fits = module in self._layers and core.shape == self._layers[module].shape
            if not fits or not np.isfinite(core).all():
                fact = (
                    f"{core.shape} for {module!r}" if not fits else "NaN or inf in it"
                )
                raise EngineError(
                    f"expected finite cores of the run's core space, but got {fact}; "
                    "use a member of this run"
                )
        return {
            module: self._layers[module].place(
                (s.P[:, : self._rank] * s.S[: self._rank]) @ s.Qt[: self._rank]
            )
            for module, s in svds(cores).items()
        }

    def set_rows(self, members: Sequence[Placed | None]) -> None:
        """Say who answers in each row of the next forward passes; None is the base."""
        is_base_only = all(member is None for member in members)
        for module, layer in self._layers.items():
            if is_base_only:
                layer.cores = None
                continue
            cores = [m.get(module) if m is not None else None for m in members]
            rows = [layer.nothing if core is None else core for core in cores]
            layer.cores = torch.stack(rows)


class _Layer:
    """One linear layer with the bases of its updates."""

    def __init__(
        self,
        name: str,
        module: Any,  # noqa: ANN401 - a Linear of torch or bitsandbytes
        U: np.ndarray,
        V: np.ndarray,
    ) -> None:
        shape = (module.out_features, module.in_features)
        if shape != (len(U), len(V)):
            raise EngineError(
                f"expected a {len(U)} x {len(V)} layer {name!r} in the base, but got "
                f"{shape[0]} x {shape[1]}; use the base that the experts change"
            )
        self._device = next(module.parameters()).device
        # Kept in float32: rounding a basis would turn every member.
        self._U = torch.from_numpy(np.ascontiguousarray(U.T)).to(self._device)
        self._V = torch.from_numpy(np.ascontiguousarray(V)).to(self._device)
        self.shape = (U.shape[1], V.shape[1])
        """Of a core."""
        self.nothing = torch.zeros((V.shape[1], U.shape[1]), device=self._device)
        """The transposed core of the bare base, ``(R_in, R_out)``."""
        self.cores: torch.Tensor | None = None
        """Of the rows, transposed: ``(rows, R_in, R_out)``; None: the bare base."""
        module.register_forward_hook(self._add)

    def place(self, core: np.ndarray) -> torch.Tensor:
        """Return a core ``(R_out, R_in)`` as this layer uses it."""
        return torch.from_numpy(np.ascontiguousarray(core.T)).to(self._device)

    def _add(
        self, _: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor | None:
        if self.cores is None:
            return None
        x = inputs[0].to(self._V.dtype)
        update = torch.bmm(x @ self._V, self.cores) @ self._U
        return output + update.to(output.dtype)


def _module(model: Any, name: str) -> Any:  # noqa: ANN401 - transformers is not typed
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise EngineError(
            f"expected the layer {name!r} in the base, but there is none; use the base "
            "that the experts change"
        ) from None
