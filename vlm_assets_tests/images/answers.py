"""What a prober answered, as the tests ask for it: facts, or the fault with its words."""

from vlm_assets.images.probe import ImageFacts, ImageFault
from vlm_assets.words.errors import RejectReason


def fault(answer: ImageFacts | ImageFault) -> RejectReason:
    detail_of(answer)
    assert isinstance(answer, ImageFault)
    return answer.reason


def detail_of(answer: ImageFacts | ImageFault) -> str:
    assert isinstance(answer, ImageFault), answer
    assert answer.detail
    assert "\n" not in answer.detail
    return answer.detail


def facts(answer: ImageFacts | ImageFault) -> ImageFacts:
    assert isinstance(answer, ImageFacts), answer
    return answer
