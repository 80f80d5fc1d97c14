"""From the files of a plate, whoever wrote them, to an index of image planes and a layout of wells."""
