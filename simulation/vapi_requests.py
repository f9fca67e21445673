"""What ``POST /call`` accepts, for calls over the WebSocket transport with an inline assistant.

Source of names, ranges and enums: Vapi's OpenAPI (CreateCallDTO, CreateAssistantDTO, OpenAIModel, Server, …) as of
August 2026. Two properties outside it are accepted because the live server takes them: top-level ``metadata`` and
``assistant.silenceTimeoutSeconds``. Parts a voice agent of this kind does not use (squads, workflows, hooks, analysis)
are known by name and not looked into.
"""

import re
from collections.abc import Sequence
from typing import Any

from simulation.shapes import (
    Check,
    Shape,
    a_flag,
    an_object,
    any_properties,
    anything,
    each_one_of,
    list_of,
    map_of,
    number,
    one_of,
    text,
)
from simulation.vapi_names import (
    CALLEES,
    CLIENT_MESSAGES,
    MODEL_PROVIDERS,
    PHONE_FIELDS,
    TOOL_TYPES,
    TRANSCRIBER_PROVIDERS,
    VOICE_PROVIDERS,
)

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_AUDIO_FORMAT = Shape(
    {
        "format": one_of("pcm_s16le", "mulaw"),
        "sampleRate": number(0, 192_000),
        "container": one_of("raw"),
    },
    required=("format", "sampleRate"),
)
_TRANSPORT = Shape(
    {
        "provider": one_of("vapi.websocket"),
        "conversationType": one_of("voice"),
        "audioFormat": _AUDIO_FORMAT,
    },
    required=("provider",),
)
_SERVER = Shape(
    {
        "url": text(),
        "timeoutSeconds": number(1, 300),
        "headers": an_object,
        "backoffPlan": Shape(
            {
                "type": one_of("fixed", "exponential"),
                "maxRetries": number(0, 10),
                "baseDelaySeconds": number(0, 10),
                "excludedStatusCodes": list_of(number(100, 599)),
            },
            required=("type", "maxRetries", "baseDelaySeconds"),
        ),
        **any_properties("credentialId", "staticIpAddressesEnabled", "encryptedPaths"),
    }
)


def _json_schema(value: Any, path: str) -> list[str]:
    """OpenAPI's JsonSchema: no minLength, no additionalProperties, no anyOf, no list of types."""
    return Shape(
        {
            "type": one_of("string", "number", "integer", "boolean", "array", "object"),
            "items": _json_schema,
            "properties": map_of(_json_schema),
            "required": list_of(text()),
            "enum": list_of(anything),
            **dict.fromkeys(("description", "pattern", "title", "format"), text()),
        },
        required=("type",),
    )(value, path)


def _function(strict_parameters: bool) -> Shape:
    parameters: Check = an_object
    if strict_parameters:
        parameters = Shape(
            {"type": one_of("object"), "properties": map_of(_json_schema), "required": list_of(text())},
            required=("type", "properties"),
        )
    return Shape(
        {
            "name": text(64, _TOOL_NAME.fullmatch),
            "strict": a_flag,
            "description": text(),
            "parameters": parameters,
        },
        required=("name",),
    )


def _tool(strict_parameters: bool) -> Check:
    function_tool = Shape(
        {
            "type": one_of("function"),
            "async": a_flag,
            "server": _SERVER,
            "messages": list_of(an_object),
            "function": _function(strict_parameters),
            **any_properties("variableExtractionPlan", "parameters", "rejectionPlan"),
        },
        required=("type",),
    )

    def check(value: Any, path: str) -> list[str]:
        if isinstance(value, dict) and value.get("type") in TOOL_TYPES and value["type"] != "function":
            return []
        return function_tool(value, path)

    return check


def _provided(providers: Sequence[str], known: dict[str, Shape]) -> Check:
    """A part chosen by its ``provider``: one of ``providers``, looked into when we know its shape."""

    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path} must be an object"]
        complaints = one_of(*providers)(value.get("provider"), f"{path}.provider")
        shape = known.get(value["provider"]) if not complaints else None
        return complaints or (shape(value, path) if shape is not None else [])

    return check


_MESSAGE = Shape(
    {"role": one_of("assistant", "function", "user", "system", "tool"), "content": text()}, required=("role",)
)
_VOICE = Shape(
    {
        "provider": text(),
        "voiceId": text(),
        "model": one_of("tts-1", "tts-1-hd", "gpt-4o-mini-tts"),
        "instructions": text(10_000),
        "speed": number(0.25, 4),
        "cachingEnabled": a_flag,
        **any_properties("chunkPlan", "fallbackPlan"),
    },
    required=("provider", "voiceId"),
)
_TRANSCRIBER = Shape(
    {
        **dict.fromkeys(("provider", "model", "language"), text()),
        **dict.fromkeys(("smartFormat", "mipOptOut", "numerals", "profanityFilter"), a_flag),
        "confidenceThreshold": number(0, 1),
        "eotThreshold": number(0, 1),
        "eotTimeoutMs": number(500, 10_000),
        "endpointing": number(10, 500),
        **any_properties("redaction", "languages", "keywords", "keyterm", "fallbackPlan"),
    },
    required=("provider",),
)
_START_SPEAKING = Shape(
    {
        "waitSeconds": number(0, 5),
        "transcriptionEndpointingPlan": Shape(
            dict.fromkeys(("onPunctuationSeconds", "onNoPunctuationSeconds", "onNumberSeconds"), number(0, 3))
        ),
        **any_properties("smartEndpointingEnabled", "smartEndpointingPlan", "customEndpointingRules"),
    }
)
_STOP_SPEAKING = Shape(
    {
        "numWords": number(0, 10),
        "voiceSeconds": number(0, 0.5),
        "backoffSeconds": number(0, 10),
        "acknowledgementPhrases": list_of(text()),
        "interruptionPhrases": list_of(text()),
    }
)
_DENOISING = Shape({"smartDenoisingPlan": Shape({"enabled": a_flag}), "fourierDenoisingPlan": an_object})


def _model(strict_parameters: bool) -> Shape:
    return Shape(
        {
            "provider": text(),
            "model": text(),
            "messages": list_of(_MESSAGE),
            "tools": list_of(_tool(strict_parameters)),
            "toolIds": list_of(text()),
            "temperature": number(0, 2),
            "maxTokens": number(50, 10_000),
            "emotionRecognitionEnabled": a_flag,
            "numFastTurns": number(0, 1_000),
            **any_properties("toolRefs", "knowledgeBase", "speaker", "reasoner", "fallbackModels"),
            **any_properties("toolStrictCompatibilityMode", "promptCacheRetention", "promptCacheKey"),
            **any_properties("serviceTier", "reasoningEffort"),
        },
        required=("provider", "model"),
    )


def _assistant(strict_parameters: bool) -> Shape:
    return Shape(
        {
            "name": text(40),
            "firstMessage": text(),
            "firstMessageMode": one_of(
                "assistant-speaks-first",
                "assistant-speaks-first-with-model-generated-message",
                "assistant-waits-for-user",
            ),
            "firstMessageInterruptionsEnabled": a_flag,
            "model": _provided(MODEL_PROVIDERS, {"openai": _model(strict_parameters)}),
            "voice": _provided(VOICE_PROVIDERS, {"openai": _VOICE}),
            "transcriber": _provided(TRANSCRIBER_PROVIDERS, {"deepgram": _TRANSCRIBER}),
            "clientMessages": each_one_of(CLIENT_MESSAGES),
            "serverMessages": list_of(text()),
            "maxDurationSeconds": number(10, 43_200),
            "silenceTimeoutSeconds": number(5, 3_600),
            "backgroundSound": text(),
            "backgroundSpeechDenoisingPlan": _DENOISING,
            "startSpeakingPlan": _START_SPEAKING,
            "stopSpeakingPlan": _STOP_SPEAKING,
            "server": _SERVER,
            "metadata": an_object,
            "endCallMessage": text(1_000),
            "voicemailMessage": text(1_000),
            "endCallPhrases": list_of(text()),
            **any_properties("voicemailDetection", "modelOutputInMessagesEnabled", "transportConfigurations"),
            **any_properties("observabilityPlan", "credentials", "hooks", "compliancePlan", "analysisPlan"),
            **any_properties("artifactPlan", "monitorPlan", "credentialIds", "keypadInputPlan"),
        }
    )


def _body(strict_parameters: bool) -> Shape:
    return Shape(
        {
            "assistant": _assistant(strict_parameters),
            "transport": _TRANSPORT,
            "name": text(40),
            "assistantId": text(),
            "assistantVersion": text(),
            "metadata": an_object,
            **any_properties("assistantOverrides", "schedulePlan", *CALLEES[2:], *PHONE_FIELDS),
            **any_properties("squadOverrides", "squadVersion", "workflowOverrides"),
        }
    )


def complaints_about(body: Any, *, strict_parameters: bool) -> list[str] | str:
    """Why ``POST /call`` answers 400 to ``body``: a list from the validation, one string from the call's own rules.

    Empty when it would be accepted. The wording of the two strings is ours: no source quotes the real ones.
    """
    complaints = _body(strict_parameters)(body, "")
    if complaints:
        return complaints
    if not any(name in body for name in CALLEES):
        return "Couldn't Find Assistant. Need Either `assistant`, `assistantId`, `squad`, `squadId`, Or `workflow`."
    if "transport" not in body:
        return "Couldn't Get Phone Number. Need Either `phoneNumberId` Or `phoneNumber`."
    phone = [name for name in PHONE_FIELDS if name in body]
    if phone:
        return f"`{phone[0]}` Can't Be Combined With The `vapi.websocket` Transport."
    return []
