"""What a run shows: pictures (:mod:`.figures`), pages (:mod:`.page`) and model cards (:mod:`.card`)."""
