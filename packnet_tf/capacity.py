"""How many tasks a network has room for."""


def forecast(free: float, fraction: float) -> str:
    """Returns a line on what a task will take and leave, before it begins.

    Args:
        free: Share of the weights that is free now.
        fraction: Share of those that the task will free again.

    Example:
        >>> forecast(0.75, 0.75)[:37]
        'Capacity: 75.0% of the weights are fr'
    """
    left = free * fraction
    more = 0
    rest = left
    while rest * (1 - fraction) >= 0.001 and more < 200:
        more += 1
        rest *= fraction
    return (
        f"Capacity: {free:.1%} of the weights are free; this task keeps "
        f"{free * (1 - fraction):.1%} and leaves {left:.1%}: room for "
        f"{more} more task(s) that each keep 0.1% or more at this fraction."
    )
