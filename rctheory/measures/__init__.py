"""Laws of neurons, row-column kernels and their fits, sampling designs, and distances of empirical laws."""

from rctheory.measures.compensation import compensate
from rctheory.measures.designs import (
    DESIGNS,
    Balanced,
    Design,
    Independent,
    Stratified,
    Weighted,
    WithoutReplacement,
)
from rctheory.measures.distances import (
    directions,
    sliced_wasserstein,
    squared_energy,
    squared_mmd,
    wasserstein,
    wasserstein_line,
)
from rctheory.measures.fitted import Goodness, RCFit, draw_latents, fit_rc
from rctheory.measures.kernels import RCKernel, SeparableKernel, coordinates, leading, trigonometric
from rctheory.measures.laws import GaussianLaw, NeuronLaw, RademacherLaw, UniformLaw, Units
from rctheory.measures.quadrature import Herding, Importance, Quantisation, TreeStrata
from rctheory.measures.residuals import ResidualLaw
from rctheory.measures.rules import FeatureDesign, Reweighted, Rule
from rctheory.measures.samplers import stratified
from rctheory.measures.signatures import signature_law

__all__ = [
    "DESIGNS",
    "Balanced",
    "Design",
    "FeatureDesign",
    "GaussianLaw",
    "Goodness",
    "Herding",
    "Importance",
    "Independent",
    "NeuronLaw",
    "Quantisation",
    "RCFit",
    "RCKernel",
    "RademacherLaw",
    "ResidualLaw",
    "Reweighted",
    "Rule",
    "SeparableKernel",
    "Stratified",
    "TreeStrata",
    "UniformLaw",
    "Units",
    "Weighted",
    "WithoutReplacement",
    "compensate",
    "coordinates",
    "directions",
    "draw_latents",
    "fit_rc",
    "leading",
    "signature_law",
    "sliced_wasserstein",
    "squared_energy",
    "squared_mmd",
    "stratified",
    "trigonometric",
    "wasserstein",
    "wasserstein_line",
]
