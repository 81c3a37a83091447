"""How often verdicts are wrong, in simulated worlds with a known truth."""
