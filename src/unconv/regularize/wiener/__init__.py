"""The linear estimate of least expected error, from power spectra of signal and noise."""
