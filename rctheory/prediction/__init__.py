"""How much a transfer will cost, before it is made: masses on the units of a trained model, and its influence."""
