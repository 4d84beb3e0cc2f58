"""Tables in Markdown, aligned so that they are as easy to read in a terminal."""


def table(header, rows):
    """A table of str cells: the first column to the left, the others, which hold figures, to the right.

    Example:
        >>> print(table(["file", "kB"], [["decoder.tflite", "440"]]))
        | file           |  kB |
        |----------------|----:|
        | decoder.tflite | 440 |
    """
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    lines = []
    for first, *others in cells:
        right = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(f"| {' | '.join([first.ljust(widths[0]), *right])} |")
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])
