"""Better samples of a trained model: units chosen, and what reads them refitted, on calibration text."""
