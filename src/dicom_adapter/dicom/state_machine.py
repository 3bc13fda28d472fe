"""The DICOM Upper Layer state machine, transcribed from PS3.8 9.2 as data: Tables 9-1 to 9-10.

Why data: all 247 cells stand below as the standard prints them, one row for each event and one column for each state,
so a reader can hold the page beside it and a test can compare every cell, the empty ones too. Actions do nothing: they
are tuples of effects for `upper_layer` to carry out, and the state that follows.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from typing import NamedTuple

from dicom_adapter.dicom.errors import LocalProtocolError


class State(StrEnum):
    """PS3.8 Tables 9-1 to 9-5."""

    STA1 = "Sta1"  # idle
    STA2 = "Sta2"  # transport connection open, awaiting A-ASSOCIATE-RQ PDU
    STA3 = "Sta3"  # awaiting local A-ASSOCIATE response primitive
    STA4 = "Sta4"  # awaiting transport connection opening
    STA5 = "Sta5"  # awaiting A-ASSOCIATE-AC or -RJ PDU
    STA6 = "Sta6"  # association established, ready for data transfer
    STA7 = "Sta7"  # awaiting A-RELEASE-RP PDU
    STA8 = "Sta8"  # awaiting local A-RELEASE response primitive
    STA9 = "Sta9"  # release collision requestor side; awaiting A-RELEASE response primitive
    STA10 = "Sta10"  # release collision acceptor side; awaiting A-RELEASE-RP PDU
    STA11 = "Sta11"  # release collision requestor side; awaiting A-RELEASE-RP PDU
    STA12 = "Sta12"  # release collision acceptor side; awaiting A-RELEASE response primitive
    STA13 = "Sta13"  # awaiting transport connection close indication


class Event(StrEnum):
    """The rows of PS3.8 Table 9-10."""

    EVT1 = "Evt1"  # A-ASSOCIATE request primitive
    EVT2 = "Evt2"  # transport connection confirmation
    EVT3 = "Evt3"  # A-ASSOCIATE-AC PDU
    EVT4 = "Evt4"  # A-ASSOCIATE-RJ PDU
    EVT5 = "Evt5"  # transport connection indication
    EVT6 = "Evt6"  # A-ASSOCIATE-RQ PDU
    EVT7 = "Evt7"  # A-ASSOCIATE response primitive (accept)
    EVT8 = "Evt8"  # A-ASSOCIATE response primitive (reject)
    EVT9 = "Evt9"  # P-DATA request primitive
    EVT10 = "Evt10"  # P-DATA-TF PDU
    EVT11 = "Evt11"  # A-RELEASE request primitive
    EVT12 = "Evt12"  # A-RELEASE-RQ PDU
    EVT13 = "Evt13"  # A-RELEASE-RP PDU
    EVT14 = "Evt14"  # A-RELEASE response primitive
    EVT15 = "Evt15"  # A-ABORT request primitive
    EVT16 = "Evt16"  # A-ABORT PDU
    EVT17 = "Evt17"  # transport connection closed indication
    EVT18 = "Evt18"  # ARTIM timer expired
    EVT19 = "Evt19"  # unrecognized or invalid PDU


class Effect(Enum):
    """What an action does. `upper_layer.Association` carries these out, and nothing else."""

    CONNECT_TRANSPORT = auto()
    CLOSE_TRANSPORT = auto()
    START_ARTIM = auto()  # or restart
    STOP_ARTIM = auto()
    SEND_PDU = auto()  # the PDU of the primitive
    SEND_REJECT = auto()  # A-ASSOCIATE-RJ for what the service provider cannot accept
    SEND_ABORT = auto()  # A-ABORT, source service-user
    SEND_PROVIDER_ABORT = auto()  # A-ABORT, source service-provider, with the reason
    INDICATE = auto()  # give what was received to the user: an indication or confirmation primitive
    INDICATE_PROVIDER_ABORT = auto()  # A-P-ABORT indication


class Action(StrEnum):
    """PS3.8 Tables 9-6 to 9-9."""

    AE_1 = "AE-1"
    AE_2 = "AE-2"
    AE_3 = "AE-3"
    AE_4 = "AE-4"
    AE_5 = "AE-5"
    AE_6 = "AE-6"
    AE_7 = "AE-7"
    AE_8 = "AE-8"
    DT_1 = "DT-1"
    DT_2 = "DT-2"
    AR_1 = "AR-1"
    AR_2 = "AR-2"
    AR_3 = "AR-3"
    AR_4 = "AR-4"
    AR_5 = "AR-5"
    AR_6 = "AR-6"
    AR_7 = "AR-7"
    AR_8 = "AR-8"
    AR_9 = "AR-9"
    AR_10 = "AR-10"
    AA_1 = "AA-1"
    AA_2 = "AA-2"
    AA_3 = "AA-3"
    AA_4 = "AA-4"
    AA_5 = "AA-5"
    AA_6 = "AA-6"
    AA_7 = "AA-7"
    AA_8 = "AA-8"


class Transition(NamedTuple):
    """What an action does, in order, and the state it leads to."""

    effects: tuple[Effect, ...]
    next_state: State


ACTIONS: dict[Action, Transition] = {
    # Table 9-6: association establishment
    Action.AE_1: Transition((Effect.CONNECT_TRANSPORT,), State.STA4),
    Action.AE_2: Transition((Effect.SEND_PDU,), State.STA5),
    Action.AE_3: Transition((Effect.INDICATE,), State.STA6),
    Action.AE_4: Transition((Effect.INDICATE, Effect.CLOSE_TRANSPORT), State.STA1),
    Action.AE_5: Transition((Effect.START_ARTIM,), State.STA2),
    Action.AE_6: Transition((Effect.STOP_ARTIM, Effect.INDICATE), State.STA3),  # or AE_6_REJECT
    Action.AE_7: Transition((Effect.SEND_PDU,), State.STA6),
    Action.AE_8: Transition((Effect.SEND_PDU, Effect.START_ARTIM), State.STA13),
    # Table 9-7: data transfer
    Action.DT_1: Transition((Effect.SEND_PDU,), State.STA6),
    Action.DT_2: Transition((Effect.INDICATE,), State.STA6),
    # Table 9-8: association release
    Action.AR_1: Transition((Effect.SEND_PDU,), State.STA7),
    Action.AR_2: Transition((Effect.INDICATE,), State.STA8),
    Action.AR_3: Transition((Effect.INDICATE, Effect.CLOSE_TRANSPORT), State.STA1),
    Action.AR_4: Transition((Effect.SEND_PDU, Effect.START_ARTIM), State.STA13),
    Action.AR_5: Transition((Effect.STOP_ARTIM,), State.STA1),
    Action.AR_6: Transition((Effect.INDICATE,), State.STA7),
    Action.AR_7: Transition((Effect.SEND_PDU,), State.STA8),
    Action.AR_8: Transition((Effect.INDICATE,), State.STA10),  # or AR_8_REQUESTOR
    Action.AR_9: Transition((Effect.SEND_PDU,), State.STA11),
    Action.AR_10: Transition((Effect.INDICATE,), State.STA12),
    # Table 9-9: association abort
    Action.AA_1: Transition((Effect.SEND_ABORT, Effect.START_ARTIM), State.STA13),
    Action.AA_2: Transition((Effect.STOP_ARTIM, Effect.CLOSE_TRANSPORT), State.STA1),
    Action.AA_3: Transition((Effect.INDICATE, Effect.CLOSE_TRANSPORT), State.STA1),
    Action.AA_4: Transition((Effect.INDICATE_PROVIDER_ABORT,), State.STA1),
    Action.AA_5: Transition((Effect.STOP_ARTIM,), State.STA1),
    Action.AA_6: Transition((), State.STA13),
    Action.AA_7: Transition((Effect.SEND_ABORT,), State.STA13),
    Action.AA_8: Transition(
        (Effect.SEND_PROVIDER_ABORT, Effect.INDICATE_PROVIDER_ABORT, Effect.START_ARTIM), State.STA13
    ),
}

# The two actions with a choice of next state: by what is acceptable (AE-6), and by role (AR-8).
AE_6_REJECT = Transition((Effect.STOP_ARTIM, Effect.SEND_REJECT, Effect.START_ARTIM), State.STA13)
AR_8_REQUESTOR = Transition((Effect.INDICATE,), State.STA9)

__ = None
# fmt: off
(
    AE_1, AE_2, AE_3, AE_4, AE_5, AE_6, AE_7, AE_8,
    DT_1, DT_2, AR_1, AR_2, AR_3, AR_4, AR_5, AR_6, AR_7, AR_8, AR_9, AR_10,
    AA_1, AA_2, AA_3, AA_4, AA_5, AA_6, AA_7, AA_8,
) = Action

TABLE: dict[Event, tuple[Action | None, ...]] = {  # Table 9-10
    #             Sta1   Sta2   Sta3   Sta4   Sta5   Sta6   Sta7   Sta8   Sta9   Sta10  Sta11  Sta12  Sta13
    Event.EVT1:  (AE_1,  __,    __,    __,    __,    __,    __,    __,    __,    __,    __,    __,    __),
    Event.EVT2:  (__,    __,    __,    AE_2,  __,    __,    __,    __,    __,    __,    __,    __,    __),
    Event.EVT3:  (__,    AA_1,  AA_8,  __,    AE_3,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_6),
    Event.EVT4:  (__,    AA_1,  AA_8,  __,    AE_4,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_6),
    Event.EVT5:  (AE_5,  __,    __,    __,    __,    __,    __,    __,    __,    __,    __,    __,    __),
    Event.EVT6:  (__,    AE_6,  AA_8,  __,    AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_7),
    Event.EVT7:  (__,    __,    AE_7,  __,    __,    __,    __,    __,    __,    __,    __,    __,    __),
    Event.EVT8:  (__,    __,    AE_8,  __,    __,    __,    __,    __,    __,    __,    __,    __,    __),
    Event.EVT9:  (__,    __,    __,    __,    __,    DT_1,  __,    AR_7,  __,    __,    __,    __,    __),
    Event.EVT10: (__,    AA_1,  AA_8,  __,    AA_8,  DT_2,  AR_6,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_6),
    Event.EVT11: (__,    __,    __,    __,    __,    AR_1,  __,    __,    __,    __,    __,    __,    __),
    Event.EVT12: (__,    AA_1,  AA_8,  __,    AA_8,  AR_2,  AR_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_6),
    Event.EVT13: (__,    AA_1,  AA_8,  __,    AA_8,  AA_8,  AR_3,  AA_8,  AA_8,  AR_10, AR_3,  AA_8,  AA_6),
    Event.EVT14: (__,    __,    __,    __,    __,    __,    __,    AR_4,  AR_9,  __,    __,    AR_4,  __),
    Event.EVT15: (__,    __,    AA_1,  AA_2,  AA_1,  AA_1,  AA_1,  AA_1,  AA_1,  AA_1,  AA_1,  AA_1,  __),
    Event.EVT16: (__,    AA_2,  AA_3,  __,    AA_3,  AA_3,  AA_3,  AA_3,  AA_3,  AA_3,  AA_3,  AA_3,  AA_2),
    Event.EVT17: (__,    AA_5,  AA_4,  AA_4,  AA_4,  AA_4,  AA_4,  AA_4,  AA_4,  AA_4,  AA_4,  AA_4,  AR_5),
    Event.EVT18: (__,    AA_2,  __,    __,    __,    __,    __,    __,    __,    __,    __,    __,    AA_2),
    Event.EVT19: (__,    AA_1,  AA_8,  __,    AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_8,  AA_7),
}
# fmt: on

_CELLS = {
    (state, event): action
    for event, row in TABLE.items()
    for state, action in zip(State, row, strict=True)
    if action is not None
}


def action(state: State, event: Event) -> Action:
    """The cell of Table 9-10. Raises LocalProtocolError for an empty one: such an event is always of our own making."""
    try:
        return _CELLS[state, event]
    except KeyError:
        raise LocalProtocolError(f"{event} cannot happen in {state} (PS3.8 Table 9-10)") from None


def transition(state: State, event: Event, *, requestor: bool, acceptable: bool = True) -> Transition:
    """Effects and next state. `acceptable`: what AE-6 asks of an A-ASSOCIATE-RQ; `requestor`: what AR-8 asks."""
    which = action(state, event)
    if which is Action.AE_6 and not acceptable:
        return AE_6_REJECT
    if which is Action.AR_8 and requestor:
        return AR_8_REQUESTOR
    return ACTIONS[which]
