import { expect, test } from 'vitest';
import { inOtherWords } from './said';
import { said } from './said.tr';

// The gateway's sentences as it says them.
test.each([
  ['must have 1–200 characters', '1–200 karakter olmalı'],
  ['must have no control characters', 'denetim karakteri içermemeli'],
  ['must be 5–600', '5–600 arasında olmalı'],
  ['must be an e-mail address', 'bir e-posta adresi olmalı'],
  ['must be the name of an IANA time zone such as Europe/Istanbul', 'Europe/Istanbul gibi bir IANA saat dilimi olmalı'],
  ['has the unknown placeholder {nme}; there are {name}, {first_name}', 'bilinmeyen yer tutucu: {nme}; olanlar: {name}, {first_name}'],
  ['missing field `name`', 'gerekli'],
  ['must be 1–2000 letters, digits and signs without spaces', 'boşluksuz 1–2000 harf, rakam ya da işaret olmalı'],
  ['The token belongs to Acme Shop.', 'Belirteç Acme Shop Sayfasının.'],
  ['The token belongs to another Page: Other (5).', 'Belirteç başka bir Sayfanın: Other (5).'],
  ['outside hours, next mon 09:00', 'çalışma saatleri dışında'],
  ['Waits: nobody in Sales is free; Ben skipped: at the limit; Cleo skipped: offline since 12:05.', 'Bekliyor: Sales kuyruğunda boşta kimse yok; Ben atlandı: yeri dolu; Cleo atlandı: çevrimdışı 12:05.'],
  [
    'Offered to Ben in Sales (idle longest) after 7 s: ready, 2 of 4 seats, idle 93 s; Cleo skipped: at the limit.',
    'Sales kuyruğunda Ben adlı temsilciye sunuldu (en uzun boşta olan), 7 sn sonra: hazır, 4 yerden 2 dolu, 93 sn boşta; Cleo atlandı: yeri dolu.',
  ],
  ['Ben accepted after 3 s.', 'Ben kabul etti, 3 sn sonra.'],
  ['The Page inbox answers this contact now.', 'Bu müşteriyi artık Sayfa gelen kutusu yanıtlıyor.'],
])('%s', (sentence, words) => {
  expect(inOtherWords(said, sentence)).toBe(words);
});

test('what is not known stays for the caller to show as it is', () => {
  expect(inOtherWords(said, 'must be green')).toBeNull();
  expect(inOtherWords(said, 'I said: must be 1–5')).toBeNull();
});

test('nothing is taken over that a sentence does not have', () => {
  for (const [pattern, words] of [...said.sentences, ...said.parts]) {
    const groups = new RegExp(`${pattern.source}|`).exec('')?.length ?? 1;
    for (const [, number] of words.matchAll(/\$(\d)/g)) expect(Number(number), `${pattern}`).toBeLessThan(groups);
  }
});
