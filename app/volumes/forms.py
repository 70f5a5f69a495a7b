"""The crop form of a volume's page. It works without scripts too."""

from __future__ import annotations

from typing import Any

from django import forms

from .models import Volume


class CropForm(forms.Form):
    """Six whole numbers. The form only parses them; ordering.order_crop checks the box."""

    def __init__(self, volume: Volume, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for axis, whole in zip("xyz", volume.whole, strict=True):
            middle, half = whole.stop // 2, min(32, max(1, whole.stop // 4))
            for end, initial in ((0, middle - half), (1, middle + half)):
                initial = min(max(initial, 0), whole.stop)
                self.fields[f"{axis}{end}"] = forms.IntegerField(
                    label=f"{axis} {'up to, not with' if end else 'from'}",
                    min_value=0,
                    max_value=whole.stop,
                    initial=initial,
                )

    def box(self) -> dict[str, list[int]]:
        """The box in the API's format."""
        return {axis: [self.cleaned_data[f"{axis}0"], self.cleaned_data[f"{axis}1"]] for axis in "xyz"}
