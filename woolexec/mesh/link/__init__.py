"""The parts that both ends of a link share."""
