"""Laws of neurons, row-column kernels and sampling designs."""

from rctheory.measures.designs import DESIGNS, Balanced, Design, Independent, Stratified, WithoutReplacement
from rctheory.measures.kernels import RCKernel, SeparableKernel, coordinates, leading, trigonometric
from rctheory.measures.laws import GaussianLaw, NeuronLaw, UniformLaw, Units

__all__ = [
    "DESIGNS",
    "Balanced",
    "Design",
    "GaussianLaw",
    "Independent",
    "NeuronLaw",
    "RCKernel",
    "SeparableKernel",
    "Stratified",
    "UniformLaw",
    "Units",
    "WithoutReplacement",
    "coordinates",
    "leading",
    "trigonometric",
]
