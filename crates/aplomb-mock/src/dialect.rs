//! Answers in the words of the API that was asked.

use std::time::SystemTime;

use bytes::Bytes;

use crate::answer::Answer;
use crate::api::{Api, Ask, Events, Headers, Origin, Problem, Reply};
use crate::hints::Hints;
use crate::limit::Levels;
use crate::{anthropic, openai};

impl Api {
    pub(crate) fn problem(self, problem: &Problem, hints: Hints, origin: &Origin) -> Reply {
        match self {
            Self::OpenAi => openai::problem(problem, hints),
            Self::Anthropic => anthropic::problem(problem, hints, origin),
        }
    }

    pub(crate) fn levels(self, levels: &Levels, date: SystemTime, headers: &mut Headers) {
        match self {
            Self::OpenAi => openai::levels(levels, headers),
            Self::Anthropic => anthropic::levels(levels, date, headers),
        }
    }

    pub(crate) fn whole(self, ask: &Ask, answer: &Answer, origin: &Origin) -> Bytes {
        match self {
            Self::OpenAi => openai::whole(ask, answer, origin),
            Self::Anthropic => anthropic::whole(ask, answer, origin),
        }
    }

    pub(crate) fn events(self, ask: &Ask, answer: &Answer, origin: &Origin) -> Events {
        match self {
            Self::OpenAi => openai::events(ask, answer, origin),
            Self::Anthropic => anthropic::events(ask, answer, origin),
        }
    }
}
