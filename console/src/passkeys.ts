// Passkeys (WebAuthn) between the browser and the API: bytes are base64url without padding.
import type { Challenge } from "./api.ts";

export function toBase64url(bytes: ArrayBuffer | Uint8Array): string {
  const view = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  let text = "";
  for (const byte of view) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

export interface Assertion {
  id: string;
  authenticator_data: string;
  client_data_json: string;
  signature: string;
  user_handle?: string;
}

export interface Attestation {
  attestation_object: string;
  client_data_json: string;
}

export function passkeysWork(): boolean {
  return typeof PublicKeyCredential !== "undefined" && isSecureContext;
}

/** ECDSA with P-256 and SHA-256, which is what the edge takes. */
const ES256 = -7;

function listed(challenge: Challenge): PublicKeyCredentialDescriptor[] {
  return challenge.credentials.map(({ id }) => ({ type: "public-key", id: fromBase64url(id) }));
}

/** Makes a passkey on this device, or on one that the browser offers. */
export async function makePasskey(challenge: Challenge): Promise<Attestation> {
  const user = challenge.user ?? { id: "", name: "" };
  const made = await navigator.credentials.create({
    publicKey: {
      challenge: fromBase64url(challenge.challenge),
      rp: { id: challenge.rp, name: "Devanture" },
      user: { id: fromBase64url(user.id), name: user.name, displayName: user.name },
      pubKeyCredParams: [{ type: "public-key", alg: ES256 }],
      excludeCredentials: listed(challenge),
      attestation: "none",
      // A login finds the account by the passkey, which has to keep it for that.
      authenticatorSelection: { residentKey: "required", userVerification: "required" },
    },
  });
  if (!(made instanceof PublicKeyCredential)) throw new Error("no passkey was made");
  const response = made.response as AuthenticatorAttestationResponse;
  return {
    attestation_object: toBase64url(response.attestationObject),
    client_data_json: toBase64url(response.clientDataJSON),
  };
}

/** Proves that one of the challenge's passkeys is here. */
export async function usePasskey(challenge: Challenge): Promise<Assertion> {
  const found = await navigator.credentials.get({
    publicKey: {
      challenge: fromBase64url(challenge.challenge),
      rpId: challenge.rp,
      allowCredentials: listed(challenge),
      userVerification: "required",
    },
  });
  if (!(found instanceof PublicKeyCredential)) throw new Error("no passkey was used");
  const response = found.response as AuthenticatorAssertionResponse;
  const assertion: Assertion = {
    id: toBase64url(found.rawId),
    authenticator_data: toBase64url(response.authenticatorData),
    client_data_json: toBase64url(response.clientDataJSON),
    signature: toBase64url(response.signature),
  };
  if (response.userHandle && response.userHandle.byteLength > 0) assertion.user_handle = toBase64url(response.userHandle);
  return assertion;
}
