"""Checks of what flows are made with, and counts of other parts."""

from kvae import checks


def check_settings(num_steps, hidden, kind, kinds):
    """(num_steps, hidden, kind) of a flow, checked."""
    num_steps, hidden = checks.check_count("num_steps", num_steps), checks.check_widths("hidden", hidden)
    return num_steps, hidden, checks.check_choice("kind", kind, kinds)


def check_latent_dim(part, latent_dim):
    """Raises ValueError unless the part knows how many values its flow has."""
    if latent_dim is None:
        raise ValueError(
            f"The {type(part).__name__} of {type(part).__module__} has weights, whose shapes depend on the number of "
            "latent dimensions. Received: no number. Give it to a VAE, or call `build(latent_dim=D)` before it is used."
        )
